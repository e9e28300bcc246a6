"""Prints what pyarrow and DuckDB read of the Parquet files in a directory, as JSON."""

import base64
import json
import sys
import uuid

import duckdb
import pyarrow
import pyarrow.parquet


def plain(value):
    if isinstance(value, uuid.UUID):
        return str(value)
    if isinstance(value, bytes):
        return "\0" + base64.b64encode(value).decode()
    return value


def by_arrow(path):
    file = pyarrow.parquet.ParquetFile(path)
    table = file.read()
    columns = {}
    for name, column in zip(table.column_names, table.columns):
        if pyarrow.types.is_timestamp(column.type):
            column = column.cast(pyarrow.int64())
        columns[name] = column.to_pylist()
    rows = [
        {name: plain(value) for name, value in zip(columns, row) if value is not None}
        for row in zip(*columns.values())
    ]
    return {
        "types": {field.name: str(field.type) for field in table.schema},
        "rows": rows,
        "row_groups": file.num_row_groups,
    }


def by_duckdb(path):
    source = duckdb.read_parquet(path)
    types = {name: str(kind) for name, kind in zip(source.columns, source.types)}
    count = source.aggregate("count(*)").fetchall()[0][0]
    sums = {
        name: source.aggregate(f"sum({name}::HUGEINT)::VARCHAR").fetchall()[0][0]
        for name, kind in types.items()
        if kind == "UBIGINT"
    }
    times = {
        name: source.aggregate(f"sum(epoch_ns({name})::HUGEINT)::VARCHAR").fetchall()[0][0]
        for name, kind in types.items()
        if kind.startswith("TIMESTAMP")
    }
    return {"types": types, "count": count, "sums": sums | times}


print(
    json.dumps(
        {
            table: {
                "arrow": by_arrow(f"{sys.argv[1]}/{table}.parquet"),
                "duckdb": by_duckdb(f"{sys.argv[1]}/{table}.parquet"),
            }
            for table in ("sessions", "publications", "events", "subscriptions", "retained")
        }
    )
)
