"""Where do bought tokens outlast a process?  In one row a source, sealed before it comes here.

A login is one process's at a time: its right is a claim in the row, which ends by itself.  So
no transaction is open while a login is under way.
"""

from typing import Any

from syncd.store.connections import Connection, transaction
from syncd.store.sql import sql
from syncd.sync.vault import Sealed


def look(connection: Connection, source: str) -> Sealed:
    with transaction(connection) as cursor:
        cursor.execute(sql("look_into_vault"), {"source": source})
        version, text, left = cursor.fetchone() or (0, None, 0.0)
        return Sealed(version=version, text=text, left=left)


def claim(connection: Connection, source: str, version: int, seconds: float) -> bool:
    values = {"source": source, "version": version, "seconds": seconds}
    return bool(_one(connection, "claim_login", values) == version)


def keep(connection: Connection, source: str, version: int, text: bytes, life: float) -> bool:
    values = {"source": source, "version": version, "sealed": text, "life": life}
    return _one(connection, "keep_bought", values) is not None


def give_back(connection: Connection, source: str, version: int) -> None:
    with transaction(connection) as cursor:
        cursor.execute(sql("give_claim_back"), {"source": source, "version": version})


def _one(connection: Connection, statement: str, values: dict[str, Any]) -> Any:
    with transaction(connection) as cursor:
        cursor.execute(sql(statement), values)
        (found,) = cursor.fetchone() or (None,)
        return found
