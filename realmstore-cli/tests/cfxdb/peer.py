"""The peer of the interoperability tests: cfxdb makes, extends and dumps a realm store.

    peer.py empty PATH [--lmdb FORMAT]          a new database without a table
    peer.py make PATH SEED [--lmdb FORMAT]      a new store with records
    peer.py add PATH SEED                       more records into a store that exists
    peer.py dump PATH                           what cfxdb reads, as JSON

FORMAT is that of LMDB, 0.9 (the default here) or 1.0.
"""

import argparse
import json
import random
import sys
import uuid

import numpy as np
import zlmdb
from cfxdb.realmstore import Event, Publication, RealmStore, Session

# zlmdb chats on standard output, which is for the dump.
OUTPUT, sys.stdout = sys.stdout, sys.stderr

EVENTS_OID = uuid.UUID("40a9df31-6065-496f-809f-027a1879654c")


def connect(path, **options):
    return zlmdb.Database.open(path, maxsize=1 << 30, **options)


def identifier(rng):
    return rng.randint(1, 2**53)


def maybe(rng, value):
    return value if rng.random() < 0.6 else None


def texts(rng):
    return ["t" + "".join(rng.choices("abü✓ \x00", k=rng.randint(0, 9))) for _ in range(rng.randint(1, 4))]


def payload_map(rng):
    return {"n": rng.randint(-(2**63), 2**64 - 1), "f": rng.random(), "b": rng.randbytes(5), "u": "✓", "none": None,
            "list": [1, [True, {"deep": b"\x00\xff"}]]}


def make_session(rng, joined_at):
    session = Session()
    session.oid = uuid.UUID(bytes=rng.randbytes(16))
    session.session = identifier(rng)
    session.joined_at = np.datetime64(joined_at, "ns")
    if rng.random() < 0.5:
        session.left_at = np.datetime64(joined_at + rng.randint(1, 10**12), "ns")
    for field in ("arealm_oid", "node_oid", "proxy_node_oid"):
        if rng.random() < 0.5:
            setattr(session, field, uuid.UUID(bytes=rng.randbytes(16)))
    for field in ("node_authid", "worker_name", "proxy_node_authid", "proxy_worker_name", "realm", "authid",
                  "authrole", "authmethod", "authprovider"):
        # cfxdb cannot read back a session without a realm.
        if field == "realm" or rng.random() < 0.7:
            setattr(session, field, f"{field}-{rng.randint(0, 5)}")
    for field in ("worker_pid", "proxy_worker_pid"):
        if rng.random() < 0.5:
            setattr(session, field, rng.randint(-(2**31), 2**31 - 1))
    for field in ("transport", "proxy_transport", "authextra"):
        if rng.random() < 0.7:
            setattr(session, field, payload_map(rng))
    return session


def make_publication(rng, timestamp):
    publication = Publication()
    publication.timestamp = timestamp
    publication.publication = identifier(rng)
    publication.publisher = identifier(rng)
    publication.topic = f"com.example.{rng.choice(['a', 'bü', 'c.d'])}"
    if rng.random() < 0.8:
        publication.args = maybe(rng, [rng.randint(-5, 5), "x" * rng.randint(0, 40), payload_map(rng)])
        publication.kwargs = maybe(rng, payload_map(rng))
    else:
        publication.payload = rng.randbytes(rng.randint(1, 50))
        publication.enc_algo = rng.randint(1, 3)
        publication.enc_key = maybe(rng, rng.randbytes(8))
        publication.enc_serializer = rng.randint(1, 4)
    publication.acknowledge = maybe(rng, rng.random() < 0.5)
    publication.retain = maybe(rng, rng.random() < 0.5)
    publication.exclude_me = maybe(rng, rng.random() < 0.5)
    # cfxdb loses exclude_authid without exclude_authrole.
    if rng.random() < 0.3:
        publication.exclude_authid = texts(rng)
        publication.exclude_authrole = texts(rng)
    if rng.random() < 0.3:
        publication.eligible_authid = texts(rng)
    if rng.random() < 0.3:
        publication.eligible_authrole = texts(rng)
    # Of an odd number of IDs cfxdb may lose the length, and part of the topic.
    if rng.random() < 0.3:
        publication.exclude = [identifier(rng) for _ in range(rng.randint(1, 4))]
    if rng.random() < 0.3:
        publication.eligible = [identifier(rng) for _ in range(rng.randint(1, 4))]
    return publication


def make_event(rng, timestamp, subscription, publication):
    event = Event()
    event.timestamp = timestamp
    event.subscription = subscription
    event.publication = publication
    event.receiver = identifier(rng)
    event.retained = rng.random() < 0.5
    event.acknowledged_delivery = rng.random() < 0.5
    return event


def fill(db, seed):
    rng = random.Random(seed)
    schema = RealmStore.attach(db)
    start = 1_700_000_000_000_000_000 + seed * 10**15
    subscriptions = [identifier(rng) for _ in range(3)]
    with db.begin(write=True) as txn:
        for number in range(40):
            session = make_session(rng, start + number * rng.randint(1, 10**9))
            schema.sessions[txn, session.oid] = session
        for number in range(100):
            timestamp = start + number * 1_000_003
            publication = make_publication(rng, timestamp)
            schema.publications[txn, publication.publication] = publication
            for receiver in range(rng.randint(0, 3)):
                subscription = rng.choice(subscriptions)
                at = timestamp + receiver * 17
                event = make_event(rng, at, subscription, publication.publication)
                schema.events[txn, (subscription, np.datetime64(at, "ns"))] = event


def plain(value):
    if isinstance(value, bytes):
        return {"$bytes": value.hex()}
    if isinstance(value, uuid.UUID):
        return str(value)
    if isinstance(value, np.datetime64):
        return int(value)
    if isinstance(value, memoryview):
        return plain(bytes(value))
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value


def dump(path):
    with connect(path) as db:
        schema = RealmStore.attach(db)
        slot = db._slots_by_index[EVENTS_OID]
        with db.begin() as txn:
            result = {
                "sessions": [[plain(oid), plain(session.marshal())]
                             for oid, session in schema.sessions.select(txn, return_keys=True)],
                "index": [[session, plain(joined_at), plain(oid)]
                          for (session, joined_at), oid in schema.idx_sessions_by_session_id.select(txn)],
                "publications": [[publication, plain(record.marshal())]
                                 for publication, record in schema.publications.select(txn)],
            }
            # select() cannot walk the events: their keys do not decode.
            events = []
            cursor = txn._txn.cursor()
            prefix = slot.to_bytes(2, "big")
            found = cursor.set_range(prefix)
            while found and cursor.key().startswith(prefix):
                event = Event.cast(cursor.value())
                events.append([event.subscription, event.timestamp, plain(event.marshal())])
                found = cursor.next()
            result["events"] = events
    json.dump(result, OUTPUT)


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("command", choices=["empty", "make", "add", "dump"])
    parser.add_argument("path")
    parser.add_argument("seed", type=int, nargs="?")
    parser.add_argument("--lmdb", choices=["0.9", "1.0"], default="0.9")
    arguments = parser.parse_args()
    if arguments.command == "dump":
        dump(arguments.path)
        return
    options = {} if arguments.command == "add" else {"lib_version": arguments.lmdb}
    with connect(arguments.path, **options) as db:
        if arguments.command != "empty":
            fill(db, arguments.seed)


main()
