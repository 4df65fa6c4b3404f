"""Which calls did the ledger ever know, and when was each settled?

syncd lets the calls of old cycles go.  A trigger beside it writes down what the ledger is
told, in the same transactions: what Postgres forgets in a crash is forgotten in both.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import psycopg

WITNESS = """
CREATE SCHEMA soak;
CREATE TABLE soak.call (
    key text PRIMARY KEY,
    source text NOT NULL,
    record_key text NOT NULL,
    done_at timestamptz
);
CREATE FUNCTION soak.note() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO soak.call AS c VALUES (NEW.idempotency_key, NEW.source, NEW.record_key,
        CASE WHEN NEW.outcome = 'done' THEN NEW.settled_at END)
    ON CONFLICT (key) DO UPDATE SET done_at = EXCLUDED.done_at WHERE c.done_at IS NULL;
    RETURN NULL;
END $$;
CREATE TRIGGER soak_note AFTER INSERT OR UPDATE ON syncd.call
FOR EACH ROW EXECUTE FUNCTION soak.note();
"""

Entries = Iterable[Mapping[str, Any]]


def watch(connection: psycopg.Connection[Any]) -> None:
    """Begin to write down; syncd's schema must be there."""
    connection.execute(WITNESS)


def settled(connection: psycopg.Connection[Any]) -> dict[str, float]:
    """Key to the moment from which on that call may never be made again."""
    rows = connection.execute(
        "SELECT key, extract(epoch FROM done_at)::float8 FROM soak.call WHERE done_at IS NOT NULL"
    )
    return dict(rows.fetchall())


def intents(connection: psycopg.Connection[Any], source: str) -> Counter[str]:
    """How many calls were ever meant for each record of a source."""
    rows = connection.execute(
        "SELECT record_key::jsonb ->> 0, count(*) FROM soak.call WHERE source = %s GROUP BY 1",
        [source],
    )
    return Counter(dict(rows.fetchall()))


def blind(journal: Entries, source: str, meant: Mapping[str, int]) -> set[str]:
    """Records for which more calls were carried out than were meant."""
    made = Counter(
        e["path"].split("/")[3]
        for e in journal
        if e["client"] == source and e["method"] == "POST" and e["status"] in (200, None)
    )
    return {record for record, times in made.items() if times > meant.get(record, 0)}
