"""How does a client come to a Postgres through the proxy?"""

import psycopg

from tests.proxy.relay import Proxy


def through(proxy: Proxy, conninfo: str, **options: str | int) -> str:
    """The same database, by the proxy; `options` are libpq's."""
    return psycopg.conninfo.make_conninfo(conninfo, host=proxy.host, port=proxy.port, **options)


def socket_of(conninfo: str) -> str:
    """Where the proxy finds the server."""
    return f"{psycopg.conninfo.conninfo_to_dict(conninfo)['host']}/.s.PGSQL.5432"
