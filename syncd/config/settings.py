"""What a config file means, as frozen values.  `config.load.load` is the only door to them.

Durations are seconds, sizes are bytes.  Validators here guard single values;
faults that need two places to see (one table for two streams) are found in `load`.
"""

import base64
import binascii
import ipaddress
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import attrs

COLUMN_TYPES = frozenset(
    {
        "text", "bigint", "integer", "smallint", "numeric", "double precision", "real",
        "boolean", "date", "timestamp", "timestamptz", "uuid", "jsonb",
    }
)  # fmt: skip


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


@attrs.frozen(kw_only=True)
class BudgetSettings:
    """How often one API may be asked: never more than `requests` in any stretch of `per`."""

    name: str
    """Sources with the same name share it."""

    requests: int
    per: float
    slack: float = 0.25
    """Within so long of being written a request has been counted by the server."""


@attrs.frozen(kw_only=True)
class AuthSettings:
    """Basic credentials buy a bearer token."""

    kind: Literal["token"] = "token"
    url: str = "/auth/token"
    username: Secret | str
    password: Secret
    spends: bool = False
    """Whether a login costs a token of the budget."""


@attrs.frozen(kw_only=True)
class PageSettings:
    """How the list is cut into pages."""

    kind: Literal["number"] = "number"
    size: int = 100
    first: int = 1
    page_param: str = "page"
    size_param: str = "limit"
    more: str = "has_more"
    """Path of the flag that says whether another page follows."""

    total: str | None = None
    """Path of the number of records, a hint for progress only."""


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
class StreamSettings:
    """One list of a source, kept in one table."""

    name: str
    path: str
    every: float = 900.0
    """Start to start, in seconds."""

    reconcile: float | None = None
    """Seconds after which a cycle looks again for rows that are gone; None: only when asked."""

    params: Mapping[str, str] = attrs.field(factory=dict)
    records: str = ""
    """Path of the list in the answer; empty: the answer is the list."""

    where: Mapping[str, tuple[str, ...]] = attrs.field(factory=dict)
    """Field to its allowed values, as text; other records are counted, not kept."""

    key: tuple[str, ...]
    columns: Mapping[str, str]
    volatile: frozenset[str] = frozenset()
    schema: str = "public"
    table: str
    indexes: tuple[tuple[str, ...], ...] = ()
    page: PageSettings = attrs.field(factory=PageSettings)
    call: CallSettings | None = None
    heartbeat: Secret | None = None
    """The address that is asked after each good cycle: who watches it notices a silence."""


@attrs.frozen(kw_only=True)
class SourceSettings:
    """One API as one account sees it."""

    name: str
    base_url: str
    headers: Mapping[str, str | Secret] = attrs.field(factory=dict)
    auth: AuthSettings | None = None
    budget: BudgetSettings | None = None
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

    streams: Mapping[str, StreamSettings] = attrs.field(factory=dict)


ALARMS = (
    "parked", "failing", "suspicious", "deletes-held", "dead-letters", "data-too-old",
    "api-failing", "login-refused", "reload-refused", "postgres-away",
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

    keep_dead_letters: float = 90 * 86400.0
    """A dead letter goes when it was put aside the last time so long ago."""

    admin: AdminSettings | None = None
    """None: there is no side door."""

    notify: tuple[NotifySettings, ...] = ()
    sources: Mapping[str, SourceSettings]
    path: Path | None = None
    """The file it was read from."""
