"""What can be measured?  Every metric, in the order in which they go out.

`docs/monitoring.md` lists each of them, and a test holds the page to this list.  Durations are
seconds; a counter counts since the start of the process.
"""

from typing import Literal

import attrs

Type = Literal["gauge", "counter", "histogram"]

STREAM = ("source", "stream")
SOURCE = ("source",)


@attrs.frozen
class Kind:
    """One metric; of a counter the name ends in `_total`."""

    name: str
    type: Type
    labels: tuple[str, ...]
    help: str
    bounds: tuple[float, ...] = ()
    """Of a histogram: the upper bounds of its buckets, without the infinite one."""


# --- can the tables be trusted? -----------------------------------------------------------------

DATA_AGE = Kind(
    "syncd_stream_data_age_seconds",
    "gauge",
    STREAM,
    "Age of the oldest data: since the last cycle that ended whole and well was begun. Missing "
    "until there was one.",
)
STATE = Kind(
    "syncd_stream_state",
    "gauge",
    (*STREAM, "state"),
    "1 for the state that the stream is in, as `syncd status` names it, 0 for the others.",
)
INTERVAL = Kind(
    "syncd_stream_interval_seconds",
    "gauge",
    STREAM,
    "The config's `every`: from the start of one cycle to the start of the next; of a `cron` the "
    "longest time between two.",
)
LAST_OUTCOME = Kind(
    "syncd_last_cycle_outcome",
    "gauge",
    (*STREAM, "outcome"),
    "1 for how the last cycle ended: ok or suspicious.",
)
LAST_SUCCESS = Kind(
    "syncd_last_cycle_success_ratio",
    "gauge",
    STREAM,
    "Share of the records of the last cycle that were not put aside, 0 to 1. Missing if it saw "
    "none.",
)
LAST_DURATION = Kind(
    "syncd_last_cycle_duration_seconds", "gauge", STREAM, "How long the last cycle took."
)
RUNNING_FOR = Kind(
    "syncd_cycle_running_seconds",
    "gauge",
    STREAM,
    "Since the running cycle was begun; 0 while none runs.",
)
CYCLE_LIMIT = Kind(
    "syncd_cycle_limit_seconds",
    "gauge",
    STREAM,
    "The config's `slow_after`: a cycle that takes longer is worth an alert.",
)
USUAL_DURATION = Kind(
    "syncd_usual_cycle_duration_seconds",
    "gauge",
    STREAM,
    "What a cycle takes: the median of the last 20. Missing until five are known.",
)
USUAL_RECORDS = Kind(
    "syncd_usual_records",
    "gauge",
    (*STREAM, "bound"),
    "From the least to the most records that a cycle usually sees. Missing until five are known.",
)
DELETES_HELD = Kind(
    "syncd_deletes_held",
    "gauge",
    STREAM,
    "1 while rows that are gone at the API wait for somebody's approval to go.",
)
DEAD_LETTERS = Kind(
    "syncd_dead_letters", "gauge", STREAM, "Dead letters that lie there now, of every kind."
)
PICTURE_AGE = Kind(
    "syncd_picture_age_seconds",
    "gauge",
    (),
    "How old what the metrics above say is: since it was last read from Postgres. Missing before "
    "the first time.",
)

# --- cycles and records -------------------------------------------------------------------------

CYCLES = Kind(
    "syncd_cycles_total",
    "counter",
    (*STREAM, "outcome"),
    "Cycles that ended: ok, suspicious, failed, or abandoned in their middle because the config "
    "changed.",
)
INTERRUPTIONS = Kind(
    "syncd_cycle_interruptions_total",
    "counter",
    (*STREAM, "why"),
    "How often a cycle stopped and goes on later: its retries were used up (failing), or a person "
    "has to act (parked).",
)
CYCLE_DURATION = Kind(
    "syncd_cycle_duration_seconds",
    "histogram",
    STREAM,
    "How long cycles took, since this process began or took them up.",
    (5, 30, 60, 150, 300, 600, 900, 1800, 3600, 7200),
)
PAGES = Kind("syncd_pages_total", "counter", STREAM, "Pages committed.")
RECORDS = Kind(
    "syncd_records_total",
    "counter",
    (*STREAM, "result"),
    "What became of the records that were seen: written, unchanged, left_out, dead or folded.",
)
PUT_ASIDE = Kind(
    "syncd_put_aside_total",
    "counter",
    (*STREAM, "kind"),
    "How often a record or its call was put aside; one that comes again counts again.",
)
CALL_DURATION = Kind(
    "syncd_call_duration_seconds",
    "histogram",
    STREAM,
    "From meaning to make a record's call until its outcome was stored; waits and further tries "
    "included.",
    (0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300),
)
CALLS = Kind(
    "syncd_calls_total",
    "counter",
    (*STREAM, "outcome"),
    "Records' calls that were settled: done or failed.",
)
RETRIES = Kind("syncd_retries_total", "counter", STREAM, "Tries that failed and were repeated.")

# --- requests and the budget --------------------------------------------------------------------

REQUESTS = Kind(
    "syncd_requests_total",
    "counter",
    (*SOURCE, "purpose", "outcome"),
    "Requests that came to their end: ok, 429, 503, 4xx, 5xx, or without an answer (timeout, lost, "
    "unreachable, pool).",
)
REQUEST_DURATION = Kind(
    "syncd_request_duration_seconds",
    "histogram",
    (*SOURCE, "purpose"),
    "From the first byte of a request to the last of its answer.",
    (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)
IN_FLIGHT = Kind(
    "syncd_requests_in_flight",
    "gauge",
    (*SOURCE, "purpose"),
    "Requests on their way to the API or back.",
)
AUTH_FAILURES = Kind(
    "syncd_authentication_failures_total",
    "counter",
    SOURCE,
    "Requests that the API answered with 401 or 403, and logins that it refused.",
)
LOGINS = Kind(
    "syncd_logins_total",
    "counter",
    (*SOURCE, "outcome"),
    "Logins, which buy a new token: ok, refused (400, 401 or 403), or failed in another way.",
)
TOKEN_WAIT = Kind(
    "syncd_budget_wait_seconds",
    "histogram",
    SOURCE,
    "What one attempt at a request waited for its tokens.",
    (0.01, 0.1, 1, 5, 15, 30, 60, 300),
)
TOKENS = Kind("syncd_budget_tokens", "gauge", ("budget",), "Tokens that the budget has.")
TOKENS_FREE = Kind(
    "syncd_budget_tokens_free", "gauge", ("budget",), "Of these, the ones that are free now."
)
BUDGET_HELD = Kind(
    "syncd_budget_held_seconds",
    "gauge",
    ("budget",),
    "For so long nobody spends from the budget, because the API asked for it; 0 if it did not.",
)
BUDGET_TOLD = Kind(
    "syncd_budget_told_left",
    "gauge",
    ("budget",),
    "What the API says is left until its limit begins anew, where that has lowered the budget.",
)
BREAKER_OPEN = Kind(
    "syncd_breaker_open",
    "gauge",
    SOURCE,
    "1 while the API fails everybody, so that only a probe is sent now and then.",
)
BREAKER_OPENED = Kind(
    "syncd_breaker_openings_total", "counter", SOURCE, "How often the breaker has opened."
)
HTTP_SIZE = Kind("syncd_http_pool_size", "gauge", SOURCE, "The config's `connections`.")
HTTP_IN_USE = Kind(
    "syncd_http_pool_in_use",
    "gauge",
    SOURCE,
    "Slots of it that a request has, or has while it waits for a token.",
)
HTTP_WAITING = Kind(
    "syncd_http_pool_waiting", "gauge", SOURCE, "Requests that wait for a slot of it."
)
HTTP_REBUILT = Kind(
    "syncd_http_pool_rebuilds_total",
    "counter",
    SOURCE,
    "How often a connection was thrown away because it took no request any more.",
)

# --- Postgres -----------------------------------------------------------------------------------

UNTOLD = "the last statement did not reach Postgres, or was not carried out; the log has the reason"
POSTGRES_UP = Kind(
    "syncd_postgres_up",
    "gauge",
    (),
    "0 while Postgres does not answer, or lacks what it needs to write; else 1.",
)
COMMIT_DURATION = Kind(
    "syncd_commit_duration_seconds",
    "histogram",
    SOURCE,
    "What the commit of a page took, waits for a Postgres that was away included.",
    (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5, 30),
)
STORE_SIZE = Kind("syncd_store_pool_size", "gauge", (), "Connections to Postgres, at most.")
STORE_IN_USE = Kind("syncd_store_pool_in_use", "gauge", (), "Connections in use.")
STORE_WAITING = Kind(
    "syncd_store_pool_waiting", "gauge", (), "Pieces of work that wait for a connection."
)
STORE_WAITS = Kind(
    "syncd_store_pool_waits_total", "counter", (), "Pieces of work that had to wait for one."
)
STORE_WAITED = Kind(
    "syncd_store_pool_wait_seconds_total", "counter", (), "What they waited, all together."
)

# --- the process --------------------------------------------------------------------------------

RELOAD_OK = Kind(
    "syncd_config_last_reload_successful",
    "gauge",
    (),
    "0 if the config was refused when it was read the last time; the one before goes on.",
)
RELOAD_AT = Kind(
    "syncd_config_last_reload_success_timestamp_seconds",
    "gauge",
    (),
    "When a config was last taken up, the start included.",
)
RELOADS = Kind(
    "syncd_config_reloads_total",
    "counter",
    ("outcome",),
    "Reloads: ok, or refused for a fault of the file.",
)
LAG = Kind(
    "syncd_loop_lag_seconds",
    "gauge",
    (),
    "By how much the loop was late at the worst, in the last minute.",
)
LINES_LOST = Kind(
    "syncd_log_lines_lost_total", "counter", (), "Log lines that journald did not take."
)
BUILD = Kind("syncd_build_info", "gauge", ("version",), "1; its label says which syncd runs.")

ALL = tuple(value for value in list(globals().values()) if isinstance(value, Kind))

STATES = (
    "never ran",
    "running",
    "resting",
    "late",
    "suspicious",
    "deletes held",
    "failing",
    "paused",
    "parked",
    "stopped",
)
"""Those of `views.standing`."""

OUTCOMES = ("ok", "suspicious", "failed", "abandoned")
INTERRUPTED = ("failing", "parked")
RESULTS = ("written", "unchanged", "left_out", "dead", "folded")
LETTERS = ("contract", "refused", "call-failed", "outcome-unknown")
