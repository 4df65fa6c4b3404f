"""By hand: `python -m tests.proxy --listen 127.0.0.1:6432 --to 127.0.0.1:5432 --script s.json`."""

from pathlib import Path

import click
import trio

from tests.proxy import script as scripts
from tests.proxy.relay import running_proxy

HELP = f"{__doc__}\n\n{scripts.__doc__}".replace("\n\n", "\n\n\b\n")  # keeps click from wrapping


@click.command(help=HELP, context_settings={"max_content_width": 100})
@click.option("--listen", default="127.0.0.1:0", show_default=True, metavar="HOST:PORT")
@click.option("--to", required=True, metavar="HOST:PORT|SOCKET", help="The server behind.")
@click.option("--script", default="[]", metavar="JSON|FILE", help="The rules, or a file of them.")
def main(listen: str, to: str, script: str) -> None:
    """Listen until Ctrl-C, and say what each connection met."""
    text = script if script.lstrip().startswith("[") else Path(script).read_text(encoding="utf-8")
    try:
        rules = scripts.read_script(text)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--script") from None
    host, _, port = listen.rpartition(":")

    async def serve() -> None:
        async with running_proxy(to=to, script=rules, host=host, port=int(port)) as proxy:
            click.echo(f"listening on {proxy.address}")
            told = 0
            while True:
                for fired in (await proxy.fired(told + 1))[told:]:
                    told += 1
                    what = f"{fired.rule.name}: {fired.rule.do}"
                    passed = f"{fired.up} bytes up, {fired.down} down"
                    click.echo(f"connection {fired.connection}: {what} after {passed}")

    try:
        trio.run(serve)
    except KeyboardInterrupt:
        click.echo("closed")


if __name__ == "__main__":
    main()
