"""`syncd init URL`: a config from an address, and what to look at in it."""

import datetime as dt
import json
import os
import re
import tempfile
import urllib.parse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import click
import trio

from syncd import logs
from syncd.app import surveying
from syncd.commands.options import Options
from syncd.config.load import load
from syncd.config.settings import (
    UNRESOLVED,
    AuthSettings,
    BasicAuth,
    BearerAuth,
    ClientCredentials,
    KeyAuth,
    RefreshToken,
    Secret,
    SourceSettings,
    revealed,
)
from syncd.survey.asking import Place
from syncd.survey.names import source_name, stream_name
from syncd.survey.signs import BY_CURSOR
from syncd.survey.survey import Survey
from syncd.survey.written import Given, config

SECRET = re.compile(
    r"(^|[-_])(api_?key|key|token|secret|password|passwd|sig|auth|appid)$", re.IGNORECASE
)
"""Names of parameters and headers whose values are no one else's business."""


@attrs.frozen(kw_only=True)
class Flags:
    """What credentials a person gave: names of environment variables."""

    bearer_env: str | None
    basic_env: tuple[str, str] | None
    api_key_env: str | None
    api_key_header: str | None
    api_key_query: str | None
    api_key_prefix: str
    client_env: tuple[str, str] | None
    refresh_env: tuple[str, str, str] | None
    token_key_env: str
    token_url: str | None
    scope: str | None
    header: tuple[str, ...]
    header_env: tuple[tuple[str, str], ...]

    def auth(self) -> AuthSettings | None:
        """What init itself sends."""
        kinds = (self.bearer_env, self.basic_env, self.api_key_env, self.client_env)
        if sum(kind is not None for kind in kinds) > 1:
            raise click.UsageError("give one kind of credentials, not several")
        buys = self.client_env or self.refresh_env
        if (buys is None) != (self.token_url is None):
            raise click.UsageError("--token-url belongs to --client-env or --refresh-env")
        if self.refresh_env is not None and self.bearer_env is None:
            raise click.UsageError(
                "a refresh token may be good for one time only, so that init does not use it: "
                "give the access token that came with it as --bearer-env NAME, too"
            )
        if self.bearer_env is not None:
            return BearerAuth(token=_secret(self.bearer_env))
        if self.basic_env is not None:
            user, password = map(_secret, self.basic_env)
            return BasicAuth(username=user, password=password)
        if self.api_key_env is not None:
            return self._key(_secret(self.api_key_env))
        if self.client_env is not None and self.token_url is not None:
            name, secret = map(_secret, self.client_env)
            return ClientCredentials(
                url=self.token_url, client_id=name, client_secret=secret, scope=self.scope
            )
        return None

    def kept(self) -> AuthSettings | None:
        """What the config says."""
        if self.refresh_env is None or self.token_url is None:
            return self.auth()
        name, secret, token = map(_secret, self.refresh_env)
        return RefreshToken(
            url=self.token_url,
            client_id=name,
            client_secret=secret,
            refresh_token=token,
            scope=self.scope,
        )

    def token_key(self) -> Secret | None:
        """What seals refresh tokens in the database; it may be made later."""
        if self.refresh_env is None:
            return None
        return Secret(UNRESOLVED, f"env {self.token_key_env}")

    def _key(self, key: Secret) -> KeyAuth:
        if self.api_key_query is not None:
            return KeyAuth(key=key, header=None, query=self.api_key_query)
        header = self.api_key_header or "X-API-Key"
        return KeyAuth(key=key, header=header, prefix=self.api_key_prefix)

    def headers(self) -> dict[str, str | Secret]:
        found: dict[str, str | Secret] = {}
        for text in self.header:
            name, colon, value = text.partition(":")
            if not colon or not value.strip():
                raise click.UsageError(f"--header takes 'Name: value'; {name!r} has no value")
            if SECRET.search(name.strip()) or name.strip().lower() in ("authorization", "cookie"):
                raise click.UsageError(
                    f"the header {name.strip()} looks like a secret, which must not stand on a "
                    f"command line: put it into an environment variable and give --header-env "
                    f"{name.strip()} VARIABLE"
                )
            found[name.strip()] = value.strip()
        return found | {name: _secret(variable) for name, variable in self.header_env}


def init(
    _: Options,
    url: str,
    *,
    output: Path,
    force: bool,
    body: str | None,
    source: str | None,
    stream: str | None,
    **flags: Any,
) -> None:
    to_file = str(output) != "-"
    if to_file:
        _must_be_free(output, force=force)
    place, base_url = _place(url, body)
    given_flags = Flags(**flags)
    asking = given_flags.auth()
    host = urllib.parse.urlsplit(base_url).hostname or ""
    given = Given(
        url=base_url + place.path,
        source=source or source_name(host),
        stream=stream or stream_name(place.path),
        base_url=base_url,
        headers=given_flags.headers(),
        auth=given_flags.kept(),
        token_key=given_flags.token_key(),
    )
    settings = SourceSettings(
        name=given.source, base_url=base_url, headers=given.headers, auth=asking, retries=0
    )
    say = _teller(err=not to_file)
    secrets = [] if asking is None else asking.secrets()
    logs.configure(level="ERROR", secrets=[*secrets, *revealed(*given.headers.values())])
    found = trio.run(
        surveying.survey, settings, place, given.stream, lambda line: say(f"      {line}")
    )
    text = config(found, given, dt.datetime.now(tz=dt.UTC).date())
    _loads(text)
    if to_file:
        _write(output, text, force=force)
    else:
        click.echo(text, nl=False)
    key = given_flags.token_key_env
    to_make = key if given.token_key is not None and key not in os.environ else None
    _tell(found, output if to_file else None, to_make, say)


def _must_be_free(output: Path, *, force: bool) -> None:
    """Before anything is asked: what could not be written would have been asked for in vain."""
    if output.exists() and not force:
        raise click.UsageError(
            f"{output} is there already; --force writes over it, --output FILE elsewhere"
        )
    if output.is_dir() or not os.access(output if output.exists() else output.parent, os.W_OK):
        raise click.UsageError(f"{output} can't be written; --output FILE names another place")


def _teller(*, err: bool) -> Callable[[str], None]:
    def say(line: str) -> None:
        click.echo("".join(c if c.isprintable() else "?" for c in line), err=err)

    return say


def _place(url: str, body: str | None) -> tuple[Place, str]:
    """Where the list is, and the server's address."""
    try:
        parts = urllib.parse.urlsplit(url)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        good = False
    if not good:
        raise click.UsageError(
            f"{url.partition('?')[0]!r} is no address; give the whole one, such as "
            "https://api.example.com/v1/orders"
        )
    if "@" in parts.netloc:
        raise click.UsageError(
            "the address holds credentials; put them into environment variables and give "
            "--basic-env USER PASSWORD"
        )
    given = urllib.parse.parse_qsl(parts.query, keep_blank_values=True)
    params = dict(given)
    twice = [name for name in params if sum(n == name for n, _ in given) > 1]
    if twice:
        raise click.UsageError(
            f"the address has {twice[0]!r} more than once, and a config sends each parameter once: "
            "give an address without it, and see whether the API takes its values in one"
        )
    for name in params:
        if SECRET.search(name) and name not in BY_CURSOR:
            raise click.UsageError(
                f"the address holds what looks like a secret ({name}): put it into an environment "
                f"variable and give --api-key-env VARIABLE --api-key-query {name}"
            )
    path = urllib.parse.quote(parts.path or "/", safe="/%:@!$&'()*+,;=~-._")
    return Place(path=path, params=params, body=_body(body)), f"{parts.scheme}://{parts.netloc}"


def _body(text: str | None) -> dict[str, Any] | None:
    if text is None:
        return None
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise click.UsageError('--body takes a JSON object, such as \'{"status": "open"}\'')
    if _has_null(found):
        raise click.UsageError("--body can hold no null: a config, which is TOML, has none")
    return found


def _has_null(of: object) -> bool:
    inner = of.values() if isinstance(of, dict) else of if isinstance(of, list) else ()
    return of is None or any(map(_has_null, inner))


def _secret(name: str) -> Secret:
    value = os.environ.get(name, "").strip("\r\n")
    if not value:
        raise click.UsageError(f"the environment variable {name} is not set; export it first")
    return Secret(value, f"env {name}")


def _loads(text: str) -> None:
    """Raise ConfigError unless the text is a config."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "syncd.toml"
        path.write_text(text, "utf-8")
        load(path, environ={}, secrets=False)


def _write(output: Path, text: str, *, force: bool) -> None:
    try:
        with output.open("w" if force else "x", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise click.ClickException(f"can't write {output}: {error.strerror}") from None


def _tell(
    found: Survey, output: Path | None, token_key: str | None, say: Callable[[str], None]
) -> None:
    for one in found.findings:
        say(f"{'sure ' if one.sure else 'guess'} {one.what}: {one.value} ({one.why})")
    if found.updated is not None:
        say(f"note  `{found.updated.path}` seems to tell when a record changed")
    if found.stopped:
        say(f"note  not all was asked: {found.stopped}")
    if output is None:
        return
    say("")
    guesses = found.guesses
    look = "look at its guess" if guesses == 1 else f"look at its {guesses} guesses"
    say(f"{output} is written; {look}, then:" if guesses else f"{output} is written. Next:")
    named = "" if output.name == "syncd.toml" and output.parent == Path() else f" --config {output}"
    if token_key is not None:
        say(f"  export {token_key}=$(openssl rand -base64 32)    and keep it: it seals the tokens")
    say(f"  syncd{named} check    does all of it work?")
    say(f"  syncd{named} once     one cycle: its rows are in Postgres")
