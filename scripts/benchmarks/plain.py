"""What would a good script do?  Get a page, write it with its checkpoint, commit, go on.

    python -m scripts.benchmarks.plain URL CONNINFO --size 1000

One connection to the API, kept; one to Postgres; COPY into a temporary table, then an upsert
that leaves equal rows alone, and the checkpoint in the same transaction.  It goes on where it
was broken off, and can ask for what has changed since its last run.  It does not validate,
retry, keep to a budget or put anything aside.
"""

import argparse
from collections.abc import Mapping

import httpx
import psycopg

COLUMNS = ("id", "name", "status", "country", "amount", "views", "active", "updated_at")

TABLES = """
CREATE TABLE IF NOT EXISTS records (
    id text PRIMARY KEY, name text, status text, country text,
    amount numeric, views bigint, active boolean, updated_at timestamptz
);
CREATE TABLE IF NOT EXISTS checkpoint
    (list text PRIMARY KEY, page integer NOT NULL, since text NOT NULL, seen text NOT NULL);
INSERT INTO checkpoint VALUES ('records', 1, '', '') ON CONFLICT DO NOTHING;
"""

INCOMING = "CREATE TEMPORARY TABLE incoming (LIKE records) ON COMMIT DELETE ROWS"

COPY = f"COPY incoming ({', '.join(COLUMNS)}) FROM STDIN"

UPSERT = """
INSERT INTO records AS o SELECT * FROM incoming
ON CONFLICT (id) DO UPDATE SET
    name = excluded.name, status = excluded.status, country = excluded.country,
    amount = excluded.amount, views = excluded.views, active = excluded.active,
    updated_at = excluded.updated_at
WHERE (o.name, o.status, o.country, o.amount, o.views, o.active, o.updated_at)
    IS DISTINCT FROM (excluded.name, excluded.status, excluded.country, excluded.amount,
                      excluded.views, excluded.active, excluded.updated_at)
"""

CHECKPOINT = "UPDATE checkpoint SET page = %s, since = %s, seen = %s WHERE list = 'records'"


def sync(http: httpx.Client, db: psycopg.Connection, size: int, *, changes: bool) -> None:
    """The whole list, or what has changed in it, from the checkpoint on."""
    with db.transaction():
        db.execute(INCOMING)
        row = db.execute("SELECT page, since, seen FROM checkpoint").fetchone()
    page, since, seen = row or (1, "", "")
    while True:
        params = {"page": page, "limit": size, **({"updated_since": since} if since else {})}
        answer = http.get("/records", params=params)
        answer.raise_for_status()
        found = answer.json()
        page = page + 1 if found["has_more"] else 1
        if changes:
            seen = max([seen, *(record["updated_at"] for record in found["data"])])
            since = seen if page == 1 else since
        with db.transaction():
            write(db, found["data"])
            db.execute(CHECKPOINT, [page, since, seen])
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
    parser.add_argument("--changes", action="store_true", help="only what has changed since")
    parser.add_argument("--tables", action="store_true", help="make them, and no more")
    asked = parser.parse_args()
    with psycopg.connect(asked.conninfo, autocommit=True) as db:
        if asked.tables:
            db.execute(TABLES)
            return
        with httpx.Client(base_url=asked.url, trust_env=False, timeout=30) as http:
            sync(http, db, asked.size, changes=asked.changes)


if __name__ == "__main__":
    main()
