"""What a config file means, as frozen values.  `config.load.load` is the only door to them.

Durations are seconds, sizes are bytes.  Validators here guard single values;
faults that need two places to see (one table for two streams) are found in `load`.
"""

import base64
import binascii
import ipaddress
import os
import re
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import attrs

from syncd.schedule import Schedule
from syncd.zones import UTC

COLUMN_TYPES = frozenset(
    {
        "text", "bigint", "integer", "smallint", "numeric", "double precision", "real",
        "boolean", "date", "timestamp", "timestamptz", "uuid", "jsonb",
    }
)  # fmt: skip


UNRESOLVED = "not-looked-up"
"""The value of a secret where only the file is looked at."""


@attrs.frozen(eq=True, repr=False)
class Secret:
    """A secret's value and where it came from.  Shows itself in no repr, str or log."""

    value: str
    origin: str
    """As the operator wrote it: `env ADPLATFORM_EMAIL`, `credential adplatform-password`."""

    def reveal(self) -> str:
        return self.value

    def __repr__(self) -> str:
        return f"<secret from {self.origin}>"

    __str__ = __repr__


STANDARD = "whsec_"  # how the Standard Webhooks specification begins a secret, in base64


def signing_key(secret: Secret) -> bytes:
    """The bytes that a signing secret stands for; none if it is not right."""
    text = secret.reveal()
    if not text.startswith(STANDARD):
        return text.encode()
    try:
        return base64.b64decode(text.removeprefix(STANDARD), validate=True)
    except binascii.Error:
        return b""


@attrs.frozen(kw_only=True)
class DatabaseSettings:
    """Where the tables live."""

    url: Secret | str | None = None
    """A libpq URL or conninfo; None runs an embedded Postgres under the state directory."""


def _segments(path: str) -> list[str]:
    return [segment for segment in path.partition("?")[0].split("/") if segment]


def _fits(segment: str, wanted: str) -> bool:
    return segment == wanted or (wanted.startswith("{") and wanted.endswith("}"))


@attrs.frozen(kw_only=True)
class BudgetSettings:
    """One limit of an API's: never more than `requests` in any stretch of `per`."""

    name: str
    """Sources with the same name share it."""

    requests: int
    per: float
    slack: float = 0.25
    """Within so long of being written a request has been counted by the server."""

    paths: tuple[str, ...] = ()
    """It counts the requests under one of these; empty: all of them."""

    seed: str | None = None
    """What was spent of limits whose names begin so counts here, too, where it is not known."""

    def counts(self, path: str) -> bool:
        """Whether it counts a request of that path.

        Segment by segment, as cookies' paths are matched (RFC 6265, section 5.1.4) and
        Kubernetes' `Prefix`: `/search` is over `/search/users`, not over `/searches`.  A segment
        in braces stands for any one, as fields do in a call's path.
        """
        own = _segments(path)
        return not self.paths or any(
            len(own) >= len(wanted) and all(map(_fits, own, wanted))
            for wanted in map(_segments, self.paths if path else ())
        )


def mended_by(*values: object) -> str:
    """What has syncd use other secrets, once they are right where they come from."""
    secrets = [value for value in values if isinstance(value, Secret)]
    # Variables of the environment, and what systemd has loaded, are those of the start.
    fixed = [s.origin for s in secrets if s.origin.split()[0] in ("env", "credential")]
    return f"restart syncd ({fixed[0]} is read when it starts)" if fixed else "`syncd reload`"


def revealed(*values: Secret | str | None) -> list[str]:
    """The values of those that are secrets."""
    return [v.reveal() for v in values if isinstance(v, Secret)]


def plain(value: Secret | str) -> str:
    """The text itself, secret or not."""
    return value.reveal() if isinstance(value, Secret) else value


def basic(username: Secret | str, password: Secret | str) -> str:
    """What a Basic Authorization header says after the word (RFC 7617, in UTF-8)."""
    return base64.b64encode(f"{plain(username)}:{plain(password)}".encode()).decode()


def _of_both(username: Secret | str, password: Secret) -> list[str]:
    """All that a pair gives away, as far as it was looked up."""
    found = revealed(username, password)
    return found if UNRESOLVED in found else [*found, basic(username, password)]


@attrs.frozen(kw_only=True)
class BasicAuth:
    """User name and password with each request."""

    kind: Literal["basic"] = "basic"
    username: Secret | str
    password: Secret

    def secrets(self) -> list[str]:
        return _of_both(self.username, self.password)


@attrs.frozen(kw_only=True)
class BearerAuth:
    """A token that does not end, with each request."""

    kind: Literal["bearer"] = "bearer"
    token: Secret

    def secrets(self) -> list[str]:
        return revealed(self.token)


@attrs.frozen(kw_only=True)
class KeyAuth:
    """A key in a header or in the query of each request."""

    kind: Literal["api-key"] = "api-key"
    key: Secret
    header: str | None = "X-API-Key"
    query: str | None = None
    """The parameter that holds it; then there is no header."""

    prefix: str = ""
    """Stands before the key in the header."""

    def secrets(self) -> list[str]:
        return revealed(self.key)


@attrs.frozen(kw_only=True)
class TokenLogin:
    """Credentials buy a bearer token."""

    kind: Literal["token"] = "token"
    url: str = "/auth/token"
    """A path behind base_url, or a whole address."""

    username: Secret | str
    password: Secret
    send: Literal["basic", "json", "form"] = "basic"
    """In a Basic header, or in the body under the two names below."""

    username_field: str = "username"
    password_field: str = "password"  # noqa: S105 - a name
    body: Mapping[str, str] = attrs.field(factory=dict)
    """What else stands in the body."""

    token: str = "access_token"  # noqa: S105 - a path
    """Path of the token in the answer."""

    expires: str = "expires_in"
    """Path of its life in seconds."""

    spends: bool = False
    """Whether a login costs tokens of the budget."""

    cost: int = 1
    """So many, if it does."""

    @property
    def price_path(self) -> str:
        """What limits by path look at; empty for another server."""
        return self.url if self.url.startswith("/") else ""

    def secrets(self) -> list[str]:
        return _of_both(self.username, self.password)


@attrs.frozen(kw_only=True)
class ClientCredentials:
    """OAuth 2.0 client credentials buy an access token (RFC 6749, section 4.4)."""

    kind: Literal["client-credentials"] = "client-credentials"
    url: str
    client_id: Secret | str
    client_secret: Secret
    client: Literal["basic", "body"] = "basic"
    """Where the client's id and secret stand."""

    scope: str | None = None
    body: Mapping[str, str] = attrs.field(factory=dict)
    spends: bool = False
    cost: int = 1

    @property
    def price_path(self) -> str:
        return self.url if self.url.startswith("/") else ""

    def secrets(self) -> list[str]:
        return _of_both(self.client_id, self.client_secret)


@attrs.frozen(kw_only=True)
class RefreshToken:
    """An OAuth 2.0 refresh token buys access tokens, and often its own successor (section 6)."""

    kind: Literal["refresh-token"] = "refresh-token"
    url: str
    client_id: Secret | str
    client_secret: Secret | None = None
    client: Literal["basic", "body"] = "basic"
    refresh_token: Secret
    """The first one; what the server gives instead of it is kept in the database."""

    scope: str | None = None
    body: Mapping[str, str] = attrs.field(factory=dict)
    spends: bool = False
    cost: int = 1

    @property
    def price_path(self) -> str:
        return self.url if self.url.startswith("/") else ""

    def secrets(self) -> list[str]:
        secret = self.client_secret
        found = revealed(self.client_id) if secret is None else _of_both(self.client_id, secret)
        return [*found, *revealed(self.refresh_token)]


Login = TokenLogin | ClientCredentials | RefreshToken
"""What has to be asked for before a request can be made."""

AuthSettings = BasicAuth | BearerAuth | KeyAuth | Login
"""How an account is told apart from others."""


@attrs.frozen(kw_only=True)
class TlsSettings:
    """Whom we trust, and who we are, below HTTP: texts in PEM."""

    ca: Secret | None = None
    """The certificates that the server's must lead to, instead of the system's."""

    cert: Secret | None = None
    """Our own certificate, and those between it and its CA."""

    key: Secret | None = None
    """Its private key; None: it stands in `cert`."""

    password: Secret | None = None
    """Of the private key."""

    def context(self) -> ssl.SSLContext:
        """Ready to be used; raises OSError (ssl.SSLError) if the texts are no such things."""
        made = ssl.create_default_context(cadata=self.ca.reveal() if self.ca else None)
        if self.cert is not None:
            both = [text.reveal() for text in (self.cert, self.key) if text is not None]
            # OpenSSL wants a file: this one never stands on a disk.  Without a password it
            # would ask on the terminal.
            with os.fdopen(os.memfd_create("certificate", os.MFD_CLOEXEC), "w") as file:
                file.write("\n".join(both))
                file.flush()
                password = self.password.reveal() if self.password else ""
                made.load_cert_chain(f"/proc/self/fd/{file.fileno()}", password=password)
        return made

    def secrets(self) -> list[str]:
        """The private key's lines stand for it: nobody shows it in one piece."""
        key = self.key or self.cert
        return revealed(key, self.password)


Until = Literal["more", "empty", "short"]
"""What ends a list that is counted through: its flag, a page without records, or one with fewer
than were asked for."""


@attrs.frozen(kw_only=True)
class NumberPages:
    """?page=1, ?page=2, …"""

    kind: Literal["number"] = "number"
    size: int = 100
    size_param: str | None = "limit"
    """None: the size is not sent."""

    page_param: str = "page"
    first: int = 1
    until: Until = "more"
    more: str | None = "has_more"
    """Path of the flag that says whether another page follows; None unless `until` is "more"."""

    total: str | None = None
    """Path of the number of records: a hint for progress, and a warning that a short page is
    not the last one."""


@attrs.frozen(kw_only=True)
class OffsetPages:
    """?offset=0, ?offset=100, …"""

    kind: Literal["offset"] = "offset"
    size: int = 100
    size_param: str | None = "limit"
    offset_param: str = "offset"
    first: int = 0
    until: Until = "empty"
    more: str | None = None
    total: str | None = None


@attrs.frozen(kw_only=True)
class CursorPages:
    """?cursor=…, as the answer before gave it."""

    kind: Literal["cursor"] = "cursor"
    size: int = 100
    size_param: str | None = None
    param: str = "cursor"
    next: str = "next_cursor"
    """Path of the cursor in the answer."""

    header: str | None = None
    """The header that holds it instead."""

    more: str | None = None
    """Path of a flag that decides whether another page follows, if there is one."""

    absent: Literal["error", "end"] = "error"
    """What an answer without anything at `next` is."""

    initial: str | None = None
    """Sent with the first request."""

    total: str | None = None


@attrs.frozen(kw_only=True)
class KeysetPages:
    """?after=…, with a field of the last record."""

    kind: Literal["keyset"] = "keyset"
    size: int = 100
    size_param: str | None = "limit"
    param: str = "after"
    field: str = "id"
    until: Until = "empty"
    more: str | None = None
    initial: str | None = None
    total: str | None = None


Foreign = Literal["refuse", "ignore"]
"""What the next page's address may be on another host: an error; or its host is not looked at."""


@attrs.frozen(kw_only=True)
class LinkPages:
    """The next page's address stands in the Link header (RFC 8288)."""

    kind: Literal["link"] = "link"
    size: int = 100
    size_param: str | None = None
    foreign: Foreign = "refuse"
    total: str | None = None


@attrs.frozen(kw_only=True)
class UrlPages:
    """The next page's address stands in the answer."""

    kind: Literal["url"] = "url"
    size: int = 100
    size_param: str | None = None
    next: str = "next"
    """Its path."""

    header: str | None = None
    """The header that holds nothing but the address, instead."""

    absent: Literal["error", "end"] = "error"
    foreign: Foreign = "refuse"
    total: str | None = None


@attrs.frozen(kw_only=True)
class NoPages:
    """The whole list comes in one answer."""

    kind: Literal["none"] = "none"
    total: str | None = None


PageSettings = (
    NumberPages | OffsetPages | CursorPages | KeysetPages | LinkPages | UrlPages | NoPages
)
"""How the list is cut into pages."""


KEY_FIELD = "idempotency_key"
"""What `{idempotency_key}` in a verify request stands for; everything else is a field."""


@attrs.frozen(kw_only=True)
class VerifySettings:
    """A GET that reads back whether a call was carried out, where its answer never came."""

    path: str
    done: str
    """Path in the answer of the value that tells."""

    wanted: str = "true"
    """What that value is, as text, once the call was carried out: `is` in the file."""

    not_found: Literal["not-done", "unknown"] = "unknown"
    """What a 404 says of the call."""

    keep: Mapping[str, str] = attrs.field(factory=dict)
    """Column to path in this answer; the columns are those of the call's own `keep`."""

    @property
    def names_the_key(self) -> bool:
        """Whether it can tell only if the call was sent with its key."""
        return any(f"{{{KEY_FIELD}}}" in text for text in (self.path, self.wanted))


@attrs.frozen(kw_only=True)
class CallSettings:
    """One call for each record."""

    method: Literal["POST", "PUT", "PATCH", "GET", "DELETE"] = "POST"
    path: str
    concurrency: int = 5
    cost: int = 1
    """Tokens of each limit that counts it."""

    when: Literal["always", "changed"] = "always"
    repeat: Literal["idempotent", "with-key", "never"] = "never"
    key_header: str = "Idempotency-Key"
    success: str | None = None
    """Path of a flag in the answer that must be true; None: the status alone decides."""

    keep: Mapping[str, str] = attrs.field(factory=dict)
    """Column to path in the answer."""

    verify: VerifySettings | None = None
    """Asked only where the call itself may not be repeated."""

    @property
    def sends_key(self) -> bool:
        """Whether the call carries its key: for the API to know it again, or for `verify`."""
        return self.repeat == "with-key" or (self.verify is not None and self.verify.names_the_key)


@attrs.frozen(kw_only=True)
class IncrementalSettings:
    """A list that can be asked for what has changed since."""

    field: str
    """Path of what the API sorts and filters by, in a record."""

    param: str
    """The parameter that asks for records at or after a mark."""

    kind: Literal["time", "epoch", "epoch-ms", "number"] = "time"
    lookback: float = 300.0
    """Seconds before the mark that are asked for again."""

    lag: float = 60.0
    """Seconds before the server's own clock that no mark gets beyond."""

    zone: str | None = None
    """What a stamp without a zone means."""

    full: float | None = 86400.0
    """Seconds after the start of a good cycle of the whole list after which another one asks for
    it; None: never."""


@attrs.frozen(kw_only=True)
class DeletedSettings:
    """What tells a record that the API has deleted."""

    field: str
    """Path in the record."""

    wanted: tuple[str, ...] = ("true",)
    """The values that say so, as text: `is` in the file."""


Then = Literal["retry", "wait", "login", "skip", "end", "park", "fail"]
"""What becomes of a request whose answer a rule names."""


@attrs.frozen(kw_only=True)
class ErrorRule:
    """What an answer of the API means: all that is said of it must be so."""

    status: tuple[str, ...] = ()
    """`403`, or `5xx` for a class; empty: any."""

    header: Mapping[str, tuple[str, ...]] = attrs.field(factory=dict)
    """Header to the values of which it has one, as text."""

    body: Mapping[str, tuple[str, ...]] = attrs.field(factory=dict)
    """Path in the answer to the values of which one stands there, as text."""

    then: Then
    hold: float | None = None
    """Seconds to wait where the answer does not say: `for` in the file."""

    says: str = ""
    """For the operator, before the API's own words."""


NewFields = Literal["discard", "evolve", "freeze", "dead-letter"]
WrongTypes = Literal["dead-letter", "freeze", "discard", "evolve"]


@attrs.frozen(kw_only=True)
class ContractSettings:
    """What becomes of records that the config does not describe."""

    new_fields: NewFields = "discard"
    wrong_types: WrongTypes = "dead-letter"
    ignore: tuple[str, ...] = ()
    """Top-level fields that are known, and wanted by no column."""


Hidden = Literal["hash", "mask", "drop"]
Conditional = Literal["etag", "last-modified", "never"]


@attrs.frozen(kw_only=True)
class SearchSettings:
    """A list that is asked for by POST, with what is looked for in a JSON body."""

    body: Mapping[str, Any] = attrs.field(factory=dict)
    place: Literal["body", "query"] = "body"
    """Where what `page` sends goes: `in` in the file."""


@attrs.frozen(kw_only=True)
class StreamSettings:
    """One list of a source, kept in one table."""

    name: str
    path: str
    every: float = 900.0
    """Start to start, in seconds; without a meaning where there is a `cron`."""

    cron: tuple[str, ...] = ()
    """When cycles begin, if not every so often."""

    zone: str = UTC
    """Where the clock hangs that `cron` speaks of."""

    slow_after: float = 300.0
    """A cycle that takes more seconds is worth an alert; nothing else comes of it."""

    reconcile: float | None = None
    """Seconds after which a cycle looks again for rows that are gone; None: only when asked."""

    cost: int = 1
    """Tokens of each limit that counts a list request."""

    params: Mapping[str, str] = attrs.field(factory=dict)
    records: str = ""
    """Path of the list in the answer; empty: the answer is the list."""

    where: Mapping[str, tuple[str, ...]] = attrs.field(factory=dict)
    """Field to its allowed values, as text; other records are counted, not kept."""

    key: tuple[str, ...]
    columns: Mapping[str, str]
    paths: Mapping[str, str] = attrs.field(factory=dict)
    """Column to its path in the record, where it is no field of that name; "": the whole one."""

    hide: Mapping[str, Hidden] = attrs.field(factory=dict)
    """Path in the record to what becomes of it before anything looks at it."""

    hide_key: Secret | None = None
    """For "hash"."""

    volatile: frozenset[str] = frozenset()
    schema: str = "public"
    table: str
    indexes: tuple[tuple[str, ...], ...] = ()
    page: PageSettings = attrs.field(factory=NumberPages)
    incremental: "IncrementalSettings | None" = None
    deleted: "DeletedSettings | None" = None
    search: "SearchSettings | None" = None
    """A list that is asked for by POST; None: by GET."""

    call: CallSettings | None = None
    conditional: Conditional = "etag"
    """By what an API may say that a page is as it was; the first alone, or where there is none
    the second."""

    errors: tuple[ErrorRule, ...] = ()
    """Before those of the source."""

    contract: ContractSettings = attrs.field(factory=ContractSettings)
    heartbeat: Secret | None = None
    """The address that is asked after each good cycle: who watches it notices a silence."""

    @property
    def costs(self) -> Mapping[Literal["list", "call"], tuple[str, int]]:
        """Path and cost of each request that a cycle makes: for its pages, and for its records."""
        found: dict[Literal["list", "call"], tuple[str, int]] = {"list": (self.path, self.cost)}
        if self.call is not None:
            found["call"] = (self.call.path, self.call.cost)
        return found

    @property
    def named(self) -> frozenset[str]:
        """Top-level fields that these settings speak of: none of them is ever new."""
        paths = [*self.columns, *self.paths.values(), *self.hide, *self.where]
        paths += [of.field for of in (self.incremental, self.deleted) if of is not None]
        paths += [self.page.field] if isinstance(self.page, KeysetPages) else []
        if self.call is not None:
            verify = self.call.verify
            texts = [self.call.path, *([verify.path, verify.wanted] if verify else [])]
            paths += [name for text in texts for name in re.findall(r"\{([^{}]+)\}", text)]
        # A field that is itself called `a.b` is reached by that path as well.
        tops = {path.partition(".")[0] for path in paths}
        return frozenset({*paths, *tops, *self.contract.ignore})

    @property
    def schedule(self) -> Schedule | None:
        """The calendar by which cycles begin; None: it is `every`."""
        return Schedule(self.cron, self.zone) if self.cron else None

    @property
    def interval(self) -> float:
        """The longest time, in seconds, from one start to the next."""
        return self.every if self.schedule is None else self.schedule.longest


@attrs.frozen(kw_only=True)
class SourceSettings:
    """One API as one account sees it."""

    name: str
    base_url: str
    headers: Mapping[str, str | Secret] = attrs.field(factory=dict)
    auth: AuthSettings | None = None
    tls: TlsSettings | None = None
    budget: tuple[BudgetSettings, ...] = ()
    """Its limits; a request takes a token of each that counts it.  Empty: it has none."""

    timeout: float = 15.0
    """One whole attempt, connect to last byte."""

    retries: int = 5
    backoff: float = 1.0
    """The first wait between two tries is up to so long; it doubles from there."""

    connections: int = 10
    keepalive: float = 4.0
    """An idle connection is closed after so long; keep it below the server's own limit."""

    max_body: int = 64 * 2**20
    """Bytes of one answer after decompression."""

    retry_after: str | None = "retry_after"
    """Path of a wait in the body of a 429 or 503, in seconds; a Retry-After header wins."""

    errors: tuple[ErrorRule, ...] = ()

    ratelimit_headers: bool = True
    """Whether what the API's headers say is left lowers the budget."""

    streams: Mapping[str, StreamSettings] = attrs.field(factory=dict)

    @property
    def windows(self) -> tuple[float, ...]:
        """Seconds of each of its limits, the shortest first."""
        return tuple(sorted(limit.per for limit in self.budget))

    @property
    def unlimited(self) -> str | None:
        """Under which name a hold is kept that the API asks for, where no limit counts every
        request; None where one does.
        """
        return f"source {self.name}" if all(limit.paths for limit in self.budget) else None


ALARMS = (
    "parked", "failing", "suspicious", "deletes-held", "dead-letters", "data-too-old",
    "contract", "api-failing", "login-refused", "reload-refused", "postgres-away",
)  # fmt: skip
"""What a receiver can be told of."""


@attrs.frozen(kw_only=True)
class NotifySettings:
    """One receiver of notifications."""

    name: str
    """In log lines: as the operator calls it, else its place in the file."""

    key: str
    """What is remembered of it goes by this: its name, else what its address comes to."""

    url: Secret
    kind: Literal["json", "slack"] = "json"
    secret: Secret | None = None
    """Signs what is sent."""

    on: tuple[str, ...] = ALARMS
    sources: tuple[str, ...] = ()
    """Only these, and what concerns all; empty: every source."""

    after: float = 300.0
    """What may pass by itself is told once it has lasted for so long."""

    repeat: float = 86400.0
    """While it lasts it is told again after so long; 0: never."""

    max_age: float | None = None
    """Data is too old when no cycle has ended well for so long; None: it never is."""

    timeout: float = 10.0


@attrs.frozen(kw_only=True)
class AdminSettings:
    """Where the side door listens, and who may come in."""

    listen: str = "127.0.0.1:8321"
    """`address:port`, `[address]:port`, or `unix:` and a path."""

    token: Secret | None = None
    """Who has it may write; without one nobody may."""

    hosts: tuple[str, ...] = ()
    """Names under which a reverse proxy shows it, beside those of `listen`."""

    @property
    def socket(self) -> Path | None:
        """The path of the unix socket, if it is one."""
        return Path(self.listen[5:]) if self.listen.startswith("unix:") else None

    @property
    def address(self) -> tuple[str, int]:
        """Address and port, if it is no unix socket."""
        host, _, port = self.listen.rpartition(":")
        return host.strip("[]"), int(port)

    @property
    def local(self) -> bool:
        """Nobody but this host's own users reaches it."""
        if self.socket is not None:
            return True
        host, _ = self.address
        return host == "localhost" or ipaddress.ip_address(host).is_loopback


@attrs.frozen(kw_only=True)
class Settings:
    """The whole file."""

    database: DatabaseSettings = attrs.field(factory=DatabaseSettings)
    state: Path
    """Where an embedded Postgres and what else lasts on this host lives."""

    drain: float = 30.0
    """On SIGTERM, requests in flight get so long."""

    token_key: Secret | None = None
    """32 bytes in base64; what logins buy is kept in the database, sealed by it.  None: nothing
    of it is kept."""

    keep_dead_letters: float = 90 * 86400.0
    """A dead letter goes when it was put aside the last time so long ago."""

    admin: AdminSettings | None = None
    """None: there is no side door."""

    notify: tuple[NotifySettings, ...] = ()
    sources: Mapping[str, SourceSettings]
    path: Path | None = None
    """The file it was read from."""
