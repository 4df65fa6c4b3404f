"""What would a good script do?  Get a page, write it with its checkpoint, commit, go on.

    python -m scripts.benchmarks.plain URL CONNINFO --size 1000

One connection to the API, kept; one to Postgres; COPY into a temporary table, then an upsert
that leaves equal rows alone, and the checkpoint in the same transaction.  It goes on where it
was broken off.  It does not validate, retry, keep to a budget or put anything aside.
"""

import argparse
from collections.abc import Mapping

import httpx
import psycopg

COLUMNS = ("id", "name", "status", "country", "amount", "views", "active", "created_at")

TABLES = """
CREATE TABLE IF NOT EXISTS records (
    id text PRIMARY KEY, name text, status text, country text,
    amount numeric, views bigint, active boolean, created_at timestamptz
);
CREATE TABLE IF NOT EXISTS checkpoint (list text PRIMARY KEY, page integer NOT NULL);
INSERT INTO checkpoint VALUES ('records', 1) ON CONFLICT DO NOTHING;
"""

INCOMING = "CREATE TEMPORARY TABLE incoming (LIKE records) ON COMMIT DELETE ROWS"

COPY = f"COPY incoming ({', '.join(COLUMNS)}) FROM STDIN"

UPSERT = """
INSERT INTO records AS o SELECT * FROM incoming
ON CONFLICT (id) DO UPDATE SET
    name = excluded.name, status = excluded.status, country = excluded.country,
    amount = excluded.amount, views = excluded.views, active = excluded.active,
    created_at = excluded.created_at
WHERE (o.name, o.status, o.country, o.amount, o.views, o.active, o.created_at)
    IS DISTINCT FROM (excluded.name, excluded.status, excluded.country, excluded.amount,
                      excluded.views, excluded.active, excluded.created_at)
"""

CHECKPOINT = "UPDATE checkpoint SET page = %s WHERE list = 'records'"


def sync(http: httpx.Client, db: psycopg.Connection, size: int) -> None:
    """The whole list, from the checkpoint on."""
    with db.transaction():
        db.execute(INCOMING)
        row = db.execute("SELECT page FROM checkpoint WHERE list = 'records'").fetchone()
    page = row[0] if row else 1
    while True:
        answer = http.get("/records", params={"page": page, "limit": size})
        answer.raise_for_status()
        found = answer.json()
        page = page + 1 if found["has_more"] else 1
        with db.transaction():
            write(db, found["data"])
            db.execute(CHECKPOINT, [page])
        if page == 1:
            return


def write(db: psycopg.Connection, records: list[Mapping[str, object]]) -> None:
    with db.cursor() as cursor:
        with cursor.copy(COPY) as copy:
            for record in records:
                copy.write_row([record.get(column) for column in COLUMNS])
        cursor.execute(UPSERT)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("conninfo")
    parser.add_argument("--size", type=int, default=1000)
    parser.add_argument("--tables", action="store_true", help="make them, and no more")
    asked = parser.parse_args()
    with psycopg.connect(asked.conninfo, autocommit=True) as db:
        if asked.tables:
            db.execute(TABLES)
            return
        with httpx.Client(base_url=asked.url, trust_env=False, timeout=30) as http:
            sync(http, db, asked.size)


if __name__ == "__main__":
    main()
