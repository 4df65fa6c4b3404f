"""The states that a page has to show, as the real views put them into JSON."""

import json
import random
import time
from pathlib import Path
from typing import Any

import attrs

from syncd import __version__
from syncd.config.load import load
from syncd.config.settings import Settings
from syncd.sync.model import Counts, StreamId
from syncd.sync.picture import Budget, Cycle, Failing, Holder, Letter, Picture, Seen, Token
from syncd.sync.ranges import Range, Usual
from syncd.views.letters import letter_object
from syncd.views.objects import as_object, cycle_object
from syncd.views.words import moment
from tests.browser.stage import Stage, said

MINUTE = 60.0
HOUR = 3600.0
DAY = 24 * HOUR
PER = 60.0
CAMPAIGNS = StreamId(source="adplatform", stream="campaigns")


def settings_of(streams: list[StreamId], folder: Path, *, every: str = "15m") -> Settings:
    """A config with these streams; its API is never asked."""
    text = ""
    for number, source in enumerate(dict.fromkeys(s.source for s in streams)):
        text += f'[sources.{json.dumps(source)}]\nbase_url = "http://127.0.0.1:9"\n'
        text += 'budget = { requests = 10, per = "60s" }\n'
        for stream in (s.stream for s in streams if s.source == source):
            text += f"[sources.{json.dumps(source)}.streams.{json.dumps(stream)}]\n"
            text += 'path = "/x"\nkey = ["id"]\n'
            text += f'every = "{every}"\ntable = "t{number}_{abs(hash(stream))}"\n'
            text += 'columns = { id = "text" }\n'
    path = folder / "syncd.toml"
    path.write_text(text, encoding="utf-8")
    return load(path, environ={}, secrets=False)


def cycle(
    number: int,
    stream: StreamId,
    began: float,
    took: float | None,
    *,
    seen: int = 100,
    written: int = 0,
    dead: int = 0,
    outcome: str = "ok",
    reason: str = "",
    pages: int = 10,
    reconcile: bool = False,
) -> Cycle:
    """A cycle that began at a moment; `took` is None while it runs."""
    return Cycle(
        id=number,
        stream=stream,
        started=began,
        ended=None if took is None else began + took,
        outcome=None if took is None else outcome,
        reason=reason,
        taken_up=0,
        pages=pages,
        aside=False,
        follows=None,
        reconcile=reconcile,
        missing=None,
        deleted=0,
        totals=Counts(
            seen=seen,
            written=written,
            unchanged=seen - written - dead,
            dead=dead,
            calls=seen,
            requests=seen + pages,
        ),
    )


def history(
    stream: StreamId, now: float, *, last: float, every: float = 15 * MINUTE, many: int = 24
) -> list[Cycle]:
    """Past cycles, newest first; the newest began `last` seconds ago."""
    draw = random.Random(str(stream))
    found = []
    for back in range(many):
        seen = 100 + max(0, 14 - back) // 2
        dead = 2 if back in (3, 4) else 1 if back == 9 else 0
        written = min(seen - dead, draw.choice([0, 2, 3, 5, 6, 8, 12, 18, 41 if back == 11 else 7]))
        took = 655 + draw.random() * 18 + (95 if back in (3, 12) else 0)
        found.append(
            cycle(
                400 - back,
                stream,
                now - last - back * every,
                took,
                seen=seen,
                written=written,
                dead=dead,
            )
        )
    return found


def spent(
    now: float, stream: StreamId, page: int, *, many: int = 10, newest: float = 2
) -> list[Token]:
    """Tokens that were spent on a page and its calls, bunched as the budget lets them through."""
    found = []
    for number in range(many):
        what = f"page {page}" if number == 0 else f"call {page * 10 + number}"
        ago = newest + (many - 1 - number) * 0.9 + (31 if number < 4 else 0)
        found.append(
            Token(
                number=number + 1,
                counted=now - ago,
                free=now - ago + PER,
                spent_on=f"{stream} {what}",
            )
        )
    return found


def budget_of(source: str, tokens: list[Token], **more: Any) -> Budget:
    return Budget(
        name=f"source {source}",
        per=PER,
        tokens=10,
        free=10 - len(tokens),
        next_free=min((t.free for t in tokens), default=None),
        held_until=more.pop("held_until", None),
        from_answers=False,
        spent=tokens,
    )


def holder(source: str, now: float, failing: Failing | None = None) -> Holder:
    return Holder(
        source=source,
        host="db-1",
        pid=4711,
        since=now - 3 * DAY,
        heard=now - 4,
        runs=True,
        failing=failing,
    )


def resting(stream: StreamId, now: float, *, left: float = 4 * MINUTE, dead: int = 0) -> Seen:
    last = history(stream, now, last=15 * MINUTE - left, many=1)[0]
    return Seen(
        stream=stream,
        next_start=now + left,
        last=last,
        whole=last,
        dead=dead,
        usual=Usual(records=Range(least=86, most=128)),
    )


def running(stream: StreamId, now: float, *, pages: int = 6, first: bool = False) -> Seen:
    before = None if first else history(stream, now, last=15 * MINUTE + pages * MINUTE, many=1)[0]
    began = now - pages * MINUTE - 20
    seen = resting(stream, now)
    return attrs.evolve(
        seen,
        next_start=began,
        pages=pages,
        running=cycle(401, stream, began, None, seen=pages * 10, written=pages, pages=pages),
        last=before,
        whole=before,
    )


def parked(stream: StreamId, now: float) -> Seen:
    return attrs.evolve(
        resting(stream, now),
        next_start=None,
        parked="The API does not accept our credentials (401). Are ADPLATFORM_EMAIL and "
        "ADPLATFORM_PASSWORD right?",
    )


def suspicious(stream: StreamId, now: float) -> Seen:
    seen = resting(stream, now)
    reason = "no records, where 86 to 128 are usual"
    last = cycle(
        402, stream, now - 11 * MINUTE, 3, seen=0, pages=1, outcome="suspicious", reason=reason
    )
    return attrs.evolve(seen, last=last)


def status(
    folder: Path,
    now: float,
    streams: list[Seen],
    budgets: list[Budget] | None = None,
    *,
    failing: dict[str, Failing] | None = None,
    events: list[dict[str, Any]] | None = None,
    **more: Any,
) -> dict[str, Any]:
    """The object that GET /api/status answers with."""
    sources = dict.fromkeys(s.stream.source for s in streams)
    picture = Picture(
        now=now,
        streams=streams,
        holders=[holder(name, now, (failing or {}).get(name)) for name in sources],
        budgets=budgets or [],
    )
    return {
        **as_object(picture, settings_of([s.stream for s in streams], folder)),
        "version": __version__,
        "daemon": {
            "pid": 4711,
            "since": moment(now - 3 * DAY),
            "host": "db-1",
            "writable": True,
            "reload": {"ok": None, "at": None, "faults": []},
        },
        "events": events or [],
        "stale_since": None,
        "stale_reason": None,
        **more,
    }


def letter(
    number: int, stream: StreamId, now: float, key: str, kind: str, reason: str
) -> dict[str, Any]:
    return letter_object(
        Letter(
            id=number,
            stream=stream,
            kind=kind,
            key=key,
            reason=reason,
            attempts=1 + number % 3,
            first=now - 2 * DAY,
            last=now - 11 * MINUTE - number * 40,
            next_try=None,
            cycle=400,
            target="public.campaigns",
            schema_version=6,
            idempotency_key=None,
        )
    )


# --- scenes: what a screenshot shows -----------------------------------------------------------


def first_start(stage: Stage, folder: Path) -> None:
    """Nothing has run yet."""
    now = time.time()
    ads = [StreamId(source="adplatform", stream=n) for n in ("campaigns", "adsets", "creatives")]
    stage.show(status(folder, now, [Seen(stream=s) for s in ads]))


def cycle_running(stage: Stage, folder: Path) -> None:
    """The main job, in the middle of a cycle, and with free tokens."""
    now = time.time()
    stage.cycles = [cycle_object(c) for c in history(CAMPAIGNS, now, last=21 * MINUTE)]
    tokens = spent(now, CAMPAIGNS, 7, many=7, newest=1.2)
    tokens[-1] = attrs.evolve(tokens[-1], counted=None)
    stage.show(status(folder, now, [running(CAMPAIGNS, now)], [budget_of("adplatform", tokens)]))


def waiting_for_budget(stage: Stage, folder: Path) -> None:
    """Every token is spent."""
    now = time.time()
    stage.cycles = [cycle_object(c) for c in history(CAMPAIGNS, now, last=21 * MINUTE)]
    tokens = spent(now, CAMPAIGNS, 7, newest=9)
    stage.show(status(folder, now, [running(CAMPAIGNS, now)], [budget_of("adplatform", tokens)]))


def parked_stream(stage: Stage, folder: Path) -> None:
    """One of four needs a person; another source's API is failing."""
    now = time.time()
    names = [
        ("adplatform", "campaigns"),
        ("adplatform", "adsets"),
        ("shop", "orders"),
        ("crm", "people"),
    ]
    campaigns, adsets, orders, people = (StreamId(source=a, stream=b) for a, b in names)
    stage.cycles = [cycle_object(c) for c in history(campaigns, now, last=11 * MINUTE)]
    failing = Failing(
        since=now - 12.5 * MINUTE, reason="503 Service Unavailable", next_probe=now + 95
    )
    events = [
        said(
            now,
            7 * MINUTE,
            "ERROR",
            "parked",
            str(campaigns),
            "stream parked",
            "What `hint` says, then `syncd resume STREAM`, or a reload.",
            reason="the API does not accept our credentials (401)",
            hint="Are ADPLATFORM_EMAIL and ADPLATFORM_PASSWORD right?",
        ),
        said(
            now,
            12.5 * MINUTE,
            "WARNING",
            "api-failing",
            str(people),
            "the API is failing: only a probe is sent now and then",
            "Nothing if it ends. See what the API's own status page says; `syncd resume STREAM` or "
            "a reload sends the probe now.",
            reason="503 Service Unavailable",
            attempts=14,
            failed=11,
        ),
        said(
            now,
            3.1 * HOUR,
            "WARNING",
            "request-failed",
            str(orders),
            "request failed",
            "Nothing if it ends.",
            reason="no answer within 15 s",
            attempt=1,
        ),
    ]
    stage.show(
        status(
            folder,
            now,
            [
                parked(campaigns, now),
                running(adsets, now, pages=3),
                resting(orders, now),
                resting(people, now, left=40),
            ],
            [budget_of("adplatform", spent(now, adsets, 4, many=6))],
            failing={"crm": failing},
            events=events,
        )
    )


def dead_letters(stage: Stage, folder: Path) -> None:
    """Records that were put aside, each for a reason of its own."""
    now = time.time()
    past = history(CAMPAIGNS, now, last=11 * MINUTE)
    stage.cycles = [cycle_object(c) for c in past]
    stage.letters = [
        letter(1, CAMPAIGNS, now, '["camp_17"]', "contract", 'budget: "cheap" is no numeric'),
        letter(
            2,
            CAMPAIGNS,
            now,
            '["camp_58"]',
            "call-failed",
            "POST /api/campaigns/camp_58/sync: 422 Unprocessable Content: campaign has no creative",
        ),
        letter(
            3,
            CAMPAIGNS,
            now,
            '["camp_91"]',
            "outcome-unknown",
            "POST /api/campaigns/camp_91/sync: no answer within 15 s",
        ),
    ]
    stage.show(
        status(
            folder,
            now,
            [resting(CAMPAIGNS, now, dead=3)],
            [budget_of("adplatform", spent(now, CAMPAIGNS, 10, many=3, newest=38)[:3])],
        )
    )


def many_sources(stage: Stage, folder: Path, many: int = 200) -> None:
    """Two hundred accounts of one API, a few of them in trouble."""
    now = time.time()
    draw = random.Random(6)
    streams = []
    for number in range(many):
        stream = StreamId(source=f"account-{number + 1:03}", stream="campaigns")
        seen = resting(stream, now, left=draw.uniform(5, 14 * MINUTE))
        if number == 41:
            seen = parked(stream, now)
        elif number == 118:
            seen = suspicious(stream, now)
        elif number in (73, 150, 151):
            seen = attrs.evolve(seen, dead=number % 7 + 1)
        elif number == 12:
            seen = attrs.evolve(seen, paused=now - 2 * HOUR, paused_by="ada@db-1")
        elif number == 160:
            seen = running(stream, now, pages=2, first=True)
        elif number % 9 == 4:
            seen = running(stream, now, pages=number % 8 + 1)
        streams.append(seen)
    failing = {
        "account-088": Failing(
            since=now - 6 * MINUTE, reason="503 Service Unavailable", next_probe=now + 30
        )
    }
    stage.cycles = [
        cycle_object(c) for s in streams[:50] for c in history(s.stream, now, last=11 * MINUTE)
    ]
    budgets = [
        budget_of(s.stream.source, spent(now, s.stream, 3, many=i % 11))
        for i, s in enumerate(streams)
    ]
    stage.show(status(folder, now, streams, budgets, failing=failing))


SCENES = {
    "first-start": first_start,
    "cycle-running": cycle_running,
    "waiting-for-budget": waiting_for_budget,
    "parked": parked_stream,
    "dead-letters": dead_letters,
    "200-sources": many_sources,
}
