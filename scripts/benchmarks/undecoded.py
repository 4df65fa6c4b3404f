"""What if nobody looked at the records at all?  A page's text goes to Postgres as it came.

    python -m scripts.benchmarks.undecoded URL CONNINFO --size 1000

One statement a page writes rows and checkpoint, and one commit.  It is no rival, as one bad
record would stop it for good, but a mark: what Postgres and the wire take by themselves.
"""

import argparse

import httpx
import psycopg

from scripts.benchmarks.plain import TABLES

PAGE = """
WITH answer AS MATERIALIZED (SELECT %s::jsonb AS page),
written AS (
    INSERT INTO records AS o
    SELECT r.* FROM answer, jsonb_to_recordset(page -> 'data') AS r(
        id text, name text, status text, country text,
        amount numeric, views bigint, active boolean, updated_at timestamptz
    )
    ON CONFLICT (id) DO UPDATE SET
        name = excluded.name, status = excluded.status, country = excluded.country,
        amount = excluded.amount, views = excluded.views, active = excluded.active,
        updated_at = excluded.updated_at
    WHERE (o.name, o.status, o.country, o.amount, o.views, o.active, o.updated_at)
        IS DISTINCT FROM (excluded.name, excluded.status, excluded.country, excluded.amount,
                          excluded.views, excluded.active, excluded.updated_at)
)
UPDATE checkpoint AS c
SET page = CASE WHEN (answer.page -> 'has_more')::boolean THEN c.page + 1 ELSE 1 END
FROM answer WHERE list = 'records'
RETURNING c.page
"""


def sync(http: httpx.Client, db: psycopg.Connection, size: int) -> None:
    """The whole list, from the checkpoint on."""
    row = db.execute("SELECT page FROM checkpoint WHERE list = 'records'").fetchone()
    while row is not None:
        answer = http.get("/records", params={"page": row[0], "limit": size})
        answer.raise_for_status()
        row = db.execute(PAGE, [answer.text], prepare=True).fetchone()
        if row == (1,):
            return


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("conninfo")
    parser.add_argument("--size", type=int, default=1000)
    parser.add_argument("--tables", action="store_true", help="make them, and no more")
    asked = parser.parse_args()
    # Each statement is a transaction of its own.
    with psycopg.connect(asked.conninfo, autocommit=True) as db:
        if asked.tables:
            db.execute(TABLES)
            return
        with httpx.Client(base_url=asked.url, trust_env=False, timeout=30) as http:
            sync(http, db, asked.size)


if __name__ == "__main__":
    main()
