"""How is it started, and how does it stop?

    python -m mock_api --speed 20 --port 0

The only place that reads options, hears signals and exits.
"""

import errno
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import click
import trio

from mock_api.api import Api
from mock_api.app import App
from mock_api.faults import BadScript, read_rules
from mock_api.server import Server
from mock_api.settings import Quirk, Settings

GRACE = 0.5  # seconds beyond the longest ordinary answer
DEFAULT = Settings()

HELP = """A real server that behaves like the campaigns platform, and misbehaves on request.

It prints one line of JSON when it answers, {"listening": "http://127.0.0.1:3001"},
and stops on SIGTERM or SIGINT.

\b
  POST /auth/token               Basic e-mail and password buy a bearer token
  GET  /api/campaigns            ?page&limit; every 5th is a 503, every 10th never answers
  POST /api/campaigns/ID/sync    takes 2 s; once per Idempotency-Key
  GET  /api/campaigns/ID         the record, and its last sync with its Idempotency-Key
  GET  /health

10 requests a minute for each X-Client-Id, lists and posts together.

\b
Try:
  python -m mock_api --speed 20
  TOKEN=$(curl -s -u ads@example.com:secret -X POST localhost:3001/auth/token \\
          | python -c 'import json, sys; print(json.load(sys.stdin)["access_token"])')
  curl -H "Authorization: Bearer $TOKEN" 'localhost:3001/api/campaigns?page=1&limit=2'
  curl localhost:3001/_mock           # look inside, and change things
  curl -X PUT localhost:3001/_mock/faults -d '{"path": "/api/*", "rate": 0.2, "status": 502}'

All times are the platform's own; --speed divides them: the window, the call, the token's
life, the idle timeout (never below 1 s), the delays of scripted faults. Every option can
be set as MOCK_API_NAME too."""


@click.command(
    help=HELP,
    context_settings={"auto_envvar_prefix": "MOCK_API", "max_content_width": 100},
)
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=3001,
    show_default=True,
    help="0 picks a free one; the line on stdout says which.",
)
@click.option(
    "--speed",
    type=click.FloatRange(min=0, min_open=True),
    default=1.0,
    show_default=True,
    help="How many times faster than the platform.",
)
@click.option("--email", default=DEFAULT.email, show_default=True)
@click.option("--password", default=DEFAULT.password, show_default=True)
@click.option(
    "--campaigns",
    type=click.IntRange(0, 10_000_000),
    default=DEFAULT.campaigns,
    show_default=True,
    help="How many there are. None is held in memory.",
)
@click.option(
    "--page-size",
    type=click.IntRange(min=1),
    default=DEFAULT.page_size,
    show_default=True,
    help="Campaigns on a page when the request names no limit.",
)
@click.option(
    "--page-max",
    type=click.IntRange(min=1),
    default=DEFAULT.page_max,
    show_default=True,
    help="A larger limit is cut to this.",
)
@click.option(
    "--limit",
    type=click.IntRange(0, 65535),
    default=DEFAULT.limit,
    show_default=True,
    help="Requests in a window for each client; 0 is no limit.",
)
@click.option(
    "--window",
    type=click.FloatRange(min=0, min_open=True),
    default=DEFAULT.window,
    show_default=True,
    help="The sliding window, in seconds.",
)
@click.option(
    "--retry-after-header",
    is_flag=True,
    help="A 429 says how long in a header too, not in JSON only.",
)
@click.option(
    "--fail-every",
    type=click.IntRange(min=0),
    default=DEFAULT.fail_every,
    show_default=True,
    help="Each n-th list request is a 503; 0 is never.",
)
@click.option(
    "--hang-every",
    type=click.IntRange(min=0),
    default=DEFAULT.hang_every,
    show_default=True,
    help="Each n-th list request is never answered; 0 is never.",
)
@click.option(
    "--per-client",
    is_flag=True,
    help="Number list requests for each client, not for the whole server.",
)
@click.option(
    "--etags",
    is_flag=True,
    help="Pages have ETags; one that is asked for by its ETag is a 304.",
)
@click.option(
    "--late",
    type=click.FloatRange(0, 1),
    default=DEFAULT.late,
    show_default=True,
    help="A share of the requests is counted late; the same ones on each run.",
)
@click.option(
    "--late-by",
    type=click.FloatRange(min=0),
    default=DEFAULT.late_by,
    show_default=True,
    help="By so many seconds.",
)
@click.option(
    "--sync-delay",
    type=click.FloatRange(min=0),
    default=DEFAULT.sync_delay,
    show_default=True,
    help="Seconds that a campaign's sync takes.",
)
@click.option(
    "--token-life",
    type=click.FloatRange(min=0, min_open=True),
    default=DEFAULT.token_life,
    show_default=True,
    help="Seconds that a token lives.",
)
@click.option(
    "--idle",
    type=click.FloatRange(min=0, min_open=True),
    default=DEFAULT.idle,
    show_default=True,
    help="Seconds after which an idle connection is closed.",
)
@click.option("--quirks", is_flag=True, help="All quirks of the platform's real test server.")
@click.option(
    "--quirk",
    type=click.Choice([quirk.value for quirk in Quirk]),
    multiple=True,
    help="One of them; can be given several times.",
)
@click.option(
    "--faults",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A script of faults in JSON; mock_api/README.md has the format.",
)
@click.option(
    "--journal",
    type=click.IntRange(1, 10_000_000),
    default=DEFAULT.journal,
    show_default=True,
    help="Requests to remember; 160 bytes each, taken at the start.",
)
@click.option(
    "--stop-with-stdin",
    is_flag=True,
    help="Stop when stdin is closed, that is, when whoever started it is gone.",
)
def main(
    *,
    host: str,
    port: int,
    quirks: bool,
    quirk: tuple[str, ...],
    faults: Path | None,
    stop_with_stdin: bool,
    **plain: float | str | bool,
) -> None:
    chosen = frozenset(Quirk) if quirks else frozenset(map(Quirk, quirk))
    settings = Settings(quirks=chosen, **plain)  # type: ignore[arg-type]  # click checked them
    try:
        rules = read_rules(faults.read_bytes()) if faults else []
    except BadScript as fault:
        raise click.BadParameter(str(fault), param_hint="--faults") from fault
    api = Api(settings)
    api.script.replace(rules)
    met: BaseExceptionGroup[OSError] | None = None
    try:
        trio.run(serve, api, host, port, stop_with_stdin)
    except* OSError as faults_met:
        met = faults_met  # exiting in here would be wrapped in a group by early Pythons 3.11
    if met is not None:
        _explain(met, host, port)
        sys.exit(1)


async def serve(api: Api, host: str, port: int, stop_with_stdin: bool) -> None:
    """Serve until a signal comes, or stdin ends."""
    stop = trio.Event()
    server = Server(App(api), idle=api.scaled.idle, grace=api.scaled.sync_delay + GRACE)
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_stop_on_signal, signals, stop)
            if stop_with_stdin:
                nursery.start_soon(_stop_on_eof, stop)
            await server.run(host, port, stop=stop, listening=_announce)
            nursery.cancel_scope.cancel()


def _explain(faults_met: BaseExceptionGroup[OSError], host: str, port: int) -> None:
    while isinstance(fault := faults_met.exceptions[0], BaseExceptionGroup):
        faults_met = fault
    if fault.errno == errno.EADDRINUSE:
        click.echo(f"port {port} of {host} is taken; choose another --port", err=True)
    else:
        click.echo(f"cannot serve on {host}:{port}: {fault}", err=True)


async def _stop_on_signal(signals: AsyncIterator[int], stop: trio.Event) -> None:
    async for _ in signals:
        stop.set()


async def _stop_on_eof(stop: trio.Event) -> None:
    async with trio.lowlevel.FdStream(os.dup(sys.stdin.fileno())) as stdin:
        async for _ in stdin:
            pass
    stop.set()


def _announce(address: str) -> None:
    print(json.dumps({"listening": address}), flush=True)  # noqa: T201 - the line that is promised


if __name__ == "__main__":
    main(prog_name="python -m mock_api")
