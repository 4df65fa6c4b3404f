"""What would a good script do that has to make a call for each record?  All at once, but so many.

    python -m scripts.benchmarks.trio_script URL CONNINFO --size 1000 --at-once 50

Trio, one HTTP client, a CapacityLimiter before the calls; when all of a page are answered its
rows are upserted.  It remembers no call: killed, it makes all of the page's again.
"""

import argparse
import os

import httpx
import psycopg
import trio

COLUMNS = ("id", "name", "status", "budget", "impressions", "clicks", "conversions", "created_at")

IDLE = 2.0  # seconds

TABLE = """
CREATE TABLE IF NOT EXISTS campaigns (
    id text PRIMARY KEY, name text, status text, budget numeric, impressions bigint,
    clicks bigint, conversions bigint, created_at timestamptz, synced_at timestamptz
)
"""

UPSERT = f"""
INSERT INTO campaigns VALUES ({", ".join(["%s"] * (len(COLUMNS) + 1))})
ON CONFLICT (id) DO UPDATE SET
    {", ".join(f"{name} = excluded.{name}" for name in (*COLUMNS[1:], "synced_at"))}
"""  # noqa: S608 - names of our own


async def sync(http: httpx.AsyncClient, db: psycopg.Connection, size: int, at_once: int) -> None:
    answer = await http.post("/auth/token", auth=(os.environ["ADPLATFORM_EMAIL"], "secret"))
    http.headers["Authorization"] = f"Bearer {answer.raise_for_status().json()['access_token']}"
    limiter = trio.CapacityLimiter(at_once)
    page, more = 1, True
    while more:
        params = {"page": page, "limit": size}
        answer = await http.get("/api/campaigns", params=params, timeout=30)
        found = answer.raise_for_status().json()
        async with trio.open_nursery() as nursery:
            for record in found["data"]:
                nursery.start_soon(call, http, limiter, record)
        rows = [[record[name] for name in (*COLUMNS, "synced_at")] for record in found["data"]]
        await trio.to_thread.run_sync(write, db, rows)
        page, more = page + 1, found["pagination"]["has_more"]


async def call(
    http: httpx.AsyncClient, limiter: trio.CapacityLimiter, record: dict[str, object]
) -> None:
    async with limiter:
        answer = await http.post(f"/api/campaigns/{record['id']}/sync")
    record["synced_at"] = answer.raise_for_status().json()["synced_at"]


def write(db: psycopg.Connection, rows: list[list[object]]) -> None:
    with db.transaction(), db.cursor() as cursor:
        cursor.executemany(UPSERT, rows)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("conninfo")
    parser.add_argument("--size", type=int, default=1000)
    parser.add_argument("--at-once", type=int, default=50)
    asked = parser.parse_args()

    async def run() -> None:
        # The API closes idle connections after some seconds, and nothing here tries again.
        limits = httpx.Limits(max_connections=asked.at_once, keepalive_expiry=IDLE)
        async with httpx.AsyncClient(
            base_url=asked.url, limits=limits, timeout=30, trust_env=False
        ) as http:
            await sync(http, db, asked.size, asked.at_once)

    with psycopg.connect(asked.conninfo, autocommit=True) as db:
        db.execute(TABLE)
        trio.run(run)


if __name__ == "__main__":
    main()
