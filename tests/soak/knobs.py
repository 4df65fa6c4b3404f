"""What stands in the config that the daemon reads, and what of it do reloads change?"""

import random

import attrs

from tests.daemon.conftest import COLUMNS

LIMIT = 10  # requests in a window, as the mock has it
WINDOW = 60.0  # seconds, at speed 1
SLACK = 0.25  # seconds; the machine has other things to do
TIMEOUT = 1.0  # seconds; each tenth list request is never answered
RECONCILE = 15  # seconds from one scan for what is gone to the next
LATE = 0.5  # seconds that some requests of `tardy` are counted late: longer than the slack

CALLED = {"adplatform": "with-key", "careful": "never", "tardy": "with-key"}
"""Source to whether its calls may be repeated."""

PLAIN = "lists"
"""A source without calls."""

SOURCES = (*CALLED, PLAIN)
FAULT = "nonsense"
"""A key that no config has."""

HEAD = """\
drain = "20s"
[database]
url = '{database}'

[sources.pattern]
base_url = "{base_url}"
timeout = "{timeout}s"
retries = {retries}
backoff = "0.1s"
keepalive = "0.1s"
[sources.pattern.auth]
url = "/auth/token"
username = {{ env = "ADPLATFORM_EMAIL" }}
password = {{ env = "ADPLATFORM_PASSWORD" }}
"""

SOURCE = """
[sources.{source}]
like = "pattern"
headers = {{ "X-Client-Id" = "{source}" }}
budget = {{ requests = {requests}, per = "{per:.3f}s", slack = "{slack}s" }}
[sources.{source}.streams.campaigns]
every = "{every}s"
reconcile = "{reconcile}s"
path = "/api/campaigns"
records = "data"
key = ["id"]
table = "{table}"
volatile = ["impressions", "clicks", "conversions"]
page = {{ size = {size}, more = "pagination.has_more", total = "pagination.total" }}
[sources.{source}.streams.campaigns.columns]
{columns}
"""

CALL = """\
synced_at = "timestamptz"
[sources.{source}.streams.campaigns.call]
path = "/api/campaigns/{{id}}/sync"
keep = {{ synced_at = "synced_at" }}
success = "success"
concurrency = {concurrency}
repeat = "{repeat}"
"""


@attrs.frozen(kw_only=True)
class Knobs:
    """The settings that reloads turn; these are the calm ones."""

    every: int = 5  # seconds
    size: int = 6
    requests: int = LIMIT
    stretch: float = 1.0
    """How much longer than the mock's window `per` is."""

    concurrency: int = 5
    retries: int = 5
    timeout: float = TIMEOUT
    without: str = ""
    """A source that is not in the file."""

    @classmethod
    def drawn(cls, rng: random.Random) -> "Knobs":
        """Some others; none of them lets syncd ask for more than the mock allows."""
        return cls(
            every=rng.randint(2, 10),
            # Another page size has each cycle begin anew.
            size=rng.choice((4, 6, 6, 6, 6, 9)),
            requests=rng.randint(LIMIT - 3, LIMIT),
            stretch=rng.choice((1.0, 1.0, 1.5)),
            concurrency=rng.randint(1, 6),
            retries=rng.randint(3, 6),
            timeout=rng.choice((TIMEOUT, 1.5 * TIMEOUT)),
            without=rng.choice(("", "", "", *SOURCES[1:])),
        )

    @property
    def sources(self) -> list[str]:
        return [source for source in SOURCES if source != self.without]

    def config(self, *, base_url: str, database: str, speed: float) -> str:
        """The file with these settings."""
        head = HEAD.format(
            database=database, base_url=base_url, timeout=self.timeout, retries=self.retries
        )
        return head + "".join(self._source(source, speed) for source in self.sources)

    def _source(self, source: str, speed: float) -> str:
        text = SOURCE.format(
            source=source,
            requests=self.requests,
            per=WINDOW / speed * self.stretch,
            slack=SLACK,
            every=self.every,
            reconcile=RECONCILE,
            size=self.size,
            table=table_of(source),
            columns=COLUMNS,
        )
        if source in CALLED:
            text += CALL.format(source=source, concurrency=self.concurrency, repeat=CALLED[source])
        return text


def table_of(source: str) -> str:
    """Those that make calls share one table."""
    return "campaigns" if source in CALLED else PLAIN
