"""What do the metrics ask of an open process?"""

from syncd import logs
from syncd.app.opened import App
from syncd.metrics.inside import HttpPool, Inside, StorePool


def inside(app: App) -> Inside:
    """What it has open at the moment."""
    store = app.store.connections.statistics
    http = {}
    for source, client in list(app.clients.items()):
        now = client.statistics
        http[source] = HttpPool(
            size=client.settings.connections,
            in_use=now.in_flight,
            waiting=now.waiting,
            rebuilt=now.pools_rebuilt,
            under_way=now.under_way,
        )
    return Inside(
        store=StorePool(
            size=store.size,
            in_use=store.in_use,
            waiting=store.waiting,
            waits=store.waits,
            waited=store.waited,
            away=store.away,
        ),
        http=http,
        parked={r.id for r in list(app.supervisor.runners.values()) if r.state == "parked"},
        lines_lost=logs.lines_lost(),
    )
