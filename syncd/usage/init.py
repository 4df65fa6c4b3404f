"""`syncd init`: what can be typed."""

from pathlib import Path

import click

from syncd.usage.later import later


@click.command()
@click.argument("url")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, allow_dash=True),
    default=Path("syncd.toml"),
    show_default=True,
    help="The file to write; - for standard output.",
)
@click.option("--force", is_flag=True, help="Write over a file that is there.")
@click.option("--bearer-env", metavar="NAME", help="A token that does not end.")
@click.option("--basic-env", nargs=2, metavar="USER PASSWORD", help="User name and password.")
@click.option("--api-key-env", metavar="NAME", help="A key, sent in a header or in the query.")
@click.option("--api-key-header", metavar="HEADER", help="Its header; X-API-Key by default.")
@click.option("--api-key-query", metavar="PARAMETER", help="Its parameter, instead of a header.")
@click.option("--api-key-prefix", default="", metavar="TEXT", help="Before it, such as 'Token '.")
@click.option("--client-env", nargs=2, metavar="ID SECRET", help="OAuth 2.0 client credentials.")
@click.option(
    "--refresh-env",
    nargs=3,
    metavar="ID SECRET TOKEN",
    help="OAuth 2.0 refresh token; init asks with --bearer-env, and leaves it unused.",
)
@click.option(
    "--token-key-env",
    default="SYNCD_TOKEN_KEY",
    show_default=True,
    metavar="NAME",
    help="Holds the key that seals refresh tokens in the database.",
)
@click.option("--token-url", metavar="URL", help="Where they buy a token: a path or an address.")
@click.option("--scope", help="The scope to ask for there.")
@click.option("--header", multiple=True, metavar="'NAME: VALUE'", help="Sent with each request.")
@click.option(
    "--header-env", nargs=2, multiple=True, metavar="HEADER NAME", help="The same, with a secret."
)
@click.option("--body", metavar="JSON", help="Ask by POST, with this body.")
@click.option("--source", metavar="NAME", help="The source's name; made of the host by default.")
@click.option("--stream", metavar="NAME", help="The stream's name; made of the path by default.")
@later
def init() -> None:
    """Look at the list at URL, and write a config that keeps it in a table.

    Makes a handful of requests, one after the other, and none after a 429. Says what it is
    sure of and what it guessed, here and in the file. Options ending in -env take the names of
    environment variables: the file refers to them, and holds no secret.

    \b
      syncd init https://api.example.com/v1/orders --bearer-env SHOP_TOKEN
      syncd check
      syncd once
    """  # noqa: D301 - click's own \b keeps lines
