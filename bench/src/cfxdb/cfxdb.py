"""The realm store of Crossbar.io, cfxdb on zlmdb, as the benchmark asks for it.

    cfxdb.py DIRECTORY

Requests come as lines of JSON on standard input, and each is answered with one:

    {"do": "ingest", "durable": true, "batches": 2}, then a line for each batch
    {"do": "point_reads", "ids": [..]}              a few fields of publications
    {"do": "whole_records", "ids": [..]}            every field of publications
    {"do": "scan"}                                  all publications
    {"do": "session_lookups", "ids": [..]}          the latest sessions with these IDs

The answer has the nanoseconds that it took and the rows that were written or read.
Only the work of the store is within them: records and keys are made before.

The history of a subscription is not among these: cfxdb 26.6 cannot select events, because zlmdb
fails to decode their keys, which do not sort by time either.
"""

import gc
import json
import shutil
import sys
from pathlib import Path
from time import perf_counter_ns
from uuid import UUID

import numpy as np
import zlmdb
from cfxdb.realmstore import Event, Publication, RealmStore, Session

# Libraries may print: what they print is not to come between the answers.
ANSWERS, sys.stdout = sys.stdout, sys.stderr

MAX_SIZE = 1 << 34


def time(nanos):
    return np.datetime64(nanos, "ns")


FIRST, LAST = time(0), time(2**63 - 1)

# The fields that Python keeps as something that JSON has not.
CONVERSIONS = {"oid": UUID, "arealm_oid": UUID, "joined_at": time, "left_at": time}


def record(kind, fields):
    made = kind()
    for name, value in fields.items():
        convert = CONVERSIONS.get(name)
        setattr(made, name, convert(value) if convert else value)
    return made


class Store:
    def __init__(self, path, durable):
        self.db = zlmdb.Database(str(path), maxsize=MAX_SIZE, sync=durable)
        self.schema = RealmStore.attach(self.db)

    def rows(self, batch):
        """The rows of a batch, each as its table, its key and its record."""
        for fields in batch["sessions"]:
            session = record(Session, fields)
            yield self.schema.sessions, session.oid, session
        for dispatch in batch["dispatches"]:
            publication = record(Publication, dispatch["publication"])
            yield self.schema.publications, publication.publication, publication
            for fields in dispatch["events"]:
                event = record(Event, fields)
                yield self.schema.events, (event.subscription, time(event.timestamp)), event

    def ingest(self, batches):
        for rows in batches:
            with self.db.begin(write=True) as txn:
                for table, key, value in rows:
                    table[txn, key] = value
        return sum(map(len, batches))

    # A record that is not there is None, and reading a field of it ends the benchmark.

    def point_reads(self, ids):
        publications = self.schema.publications
        with self.db.begin() as txn:
            for key in ids:
                publication = publications[txn, key]
                _ = publication.timestamp, publication.topic
        return len(ids)

    def whole_records(self, ids):
        publications = self.schema.publications
        with self.db.begin() as txn:
            for key in ids:
                publications[txn, key].marshal()
        return len(ids)

    def scan(self):
        rows = 0
        with self.db.begin() as txn:
            for publication in self.schema.publications.select(txn, return_keys=False):
                _ = publication.timestamp, publication.publisher, publication.topic
                rows += 1
        return rows

    def session_lookups(self, ranges):
        sessions, index = self.schema.sessions, self.schema.idx_sessions_by_session_id
        with self.db.begin() as txn:
            for first, last in ranges:
                newest = index.select(
                    txn, from_key=first, to_key=last, return_keys=False, reverse=True, limit=1
                )
                session = sessions[txn, next(iter(newest))]
                _ = session.joined_at, session.authid
        return len(ranges)


def measured(work, *arguments):
    # What was prepared is no garbage of the store's, and is not looked through for any.
    gc.collect()
    gc.freeze()
    start = perf_counter_ns()
    rows = work(*arguments)
    return {"nanos": perf_counter_ns() - start, "rows": rows}


def main():
    path = Path(sys.argv[1]) / "cfxdb"
    store = None
    for line in sys.stdin:
        request = json.loads(line)
        match request["do"]:
            case "ingest":
                if store:
                    store.db.__exit__(None, None, None)
                    shutil.rmtree(path)
                store = Store(path, request["durable"])
                lines = (sys.stdin.readline() for _ in range(request["batches"]))
                batches = [list(store.rows(json.loads(line))) for line in lines]
                answer = measured(store.ingest, batches)
                del batches
                # Nothing is left to be written while others are measured.
                store.db.sync(True)
            case "point_reads":
                answer = measured(store.point_reads, request["ids"])
            case "whole_records":
                answer = measured(store.whole_records, request["ids"])
            case "scan":
                answer = measured(store.scan)
            case "session_lookups":
                ranges = [((session, FIRST), (session, LAST)) for session in request["ids"]]
                answer = measured(store.session_lookups, ranges)
            case other:
                raise ValueError(f"no such request: {other}")
        print(json.dumps(answer), file=ANSWERS, flush=True)


main()
