"""The same pictures for programs: keys stay, and new ones may come.  Times are ISO 8601."""

from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from syncd.config.settings import BudgetSettings, Settings, SourceSettings
from syncd.sync.model import StreamId
from syncd.sync.picture import Budget, Cycle, Failing, Holder, Picture, Seen, Token
from syncd.views import arrival
from syncd.views.standing import standing
from syncd.views.words import moment, untied

_NOTHING: Mapping[StreamId, arrival.Listed] = {}


def budgets_of(settings: Settings, sources: Sequence[str]) -> list[BudgetSettings]:
    """The budgets that these sources spend from, each once."""
    found = [limit for name in sources for limit in settings.sources[name].budget]
    return list({limit.name: limit for limit in found}.values())


def to_look_at(
    settings: Settings, streams: Sequence[StreamId]
) -> tuple[Sequence[StreamId], list[str], list[str]]:
    """What a picture of these streams is asked for with: they, their sources, and the names of
    all that may hold their requests.
    """
    sources = list(dict.fromkeys(stream.source for stream in streams))
    budgets = [budget.name for budget in budgets_of(settings, sources)]
    rests = [settings.sources[name].unlimited for name in sources]
    return streams, sources, [*budgets, *(name for name in rests if name is not None)]


def as_object(
    picture: Picture,
    settings: Settings,
    listed: Mapping[StreamId, arrival.Listed] = _NOTHING,
) -> dict[str, Any]:
    """The same for programs; keys stay, and new ones may come.

    listed: what the APIs said of the lists of running cycles, where that is known.
    """
    holders = {h.source: h for h in picture.holders}
    sources = list(dict.fromkeys(s.stream.source for s in picture.streams))
    there = {b.name: b for b in picture.budgets}
    return {
        "at": moment(picture.now),
        "streams": [
            _stream_object(
                seen,
                picture.now,
                settings,
                holders.get(seen.stream.source),
                budgets_for(seen.stream, settings, there),
                listed.get(seen.stream),
            )
            for seen in picture.streams
        ],
        "sources": [
            _source_object(settings.sources[name], holders.get(name), there) for name in sources
        ],
        "budgets": [_budget_object(b, there.get(b.name)) for b in budgets_of(settings, sources)],
    }


def budgets_for(
    stream: StreamId, settings: Settings, there: Mapping[str, Budget]
) -> list[arrival.Share]:
    """How the budgets stand that count requests of a stream, and what of each one takes."""
    source = settings.sources[stream.source]
    costs = source.streams[stream.stream].costs.values()
    shares = [
        arrival.Share(
            budget=there[limit.name],
            cost=max(cost for path, cost in costs if limit.counts(path)),
        )
        for limit in source.budget
        if limit.name in there and any(limit.counts(path) for path, _ in costs)
    ]
    rest = there.get(source.unlimited or "")
    return shares if rest is None else [*shares, arrival.Share(budget=rest)]


def _stream_object(
    seen: Seen,
    now: float,
    settings: Settings,
    holder: Holder | None,
    shares: Sequence[arrival.Share],
    listed: arrival.Listed | None,
) -> dict[str, Any]:
    of_stream = settings.sources[seen.stream.source].streams[seen.stream.stream]
    found = standing(seen, now, of_stream, runs=holder is not None and holder.runs)
    ahead = arrival.expected(seen, shares, now, listed, goes_on=found.state == "running")
    waits = arrival.wait(seen, shares, holder.failing if holder else None, now)
    return {
        "source": seen.stream.source,
        "stream": seen.stream.stream,
        "state": found.state,
        "words": untied(found.words),
        "reason": found.reason or None,
        "todo": found.todo or None,
        "every_seconds": of_stream.interval,
        "cron": list(of_stream.cron),
        "zone": of_stream.zone if of_stream.cron else None,
        "paused_at": moment(seen.paused),
        "next_start": moment(seen.next_start),
        "running": seen.running and cycle_object(seen.running),
        "expected": seen.running
        and {"records": ahead.records, "pages": ahead.pages, "done_at": moment(ahead.done)},
        "waits": waits and {"for": waits.why, "until": moment(waits.until)},
        "last": seen.last and cycle_object(seen.last),
        "whole": seen.whole and cycle_object(seen.whole),
        "dead_letters": seen.dead,
        "drifts": seen.drifts,
        "missing": seen.missing,
        "kept_out": seen.kept_out,
        "question": seen.question,
        "reconciled_at": moment(seen.reconciled),
        "usual": {
            "records": seen.usual.records and attrs.asdict(seen.usual.records),
            "changes": seen.usual.changes and attrs.asdict(seen.usual.changes),
        },
    }


def cycle_object(cycle: Cycle) -> dict[str, Any]:
    """A cycle for programs."""
    return {
        "cycle": cycle.id,
        "source": cycle.stream.source,
        "stream": cycle.stream.stream,
        "started_at": moment(cycle.started),
        "ended_at": moment(cycle.ended),
        "seconds": None if cycle.seconds is None else round(cycle.seconds, 3),
        "outcome": cycle.outcome,
        "success": cycle.totals.success,
        "whole": not cycle.aside,
        "reason": cycle.reason or None,
        "taken_up": cycle.taken_up,
        "pages": cycle.pages,
        "follows": cycle.follows,
        "reconcile": cycle.reconcile,
        "since": cycle.since,
        "missing": cycle.missing,
        "deleted": cycle.deleted,
        **attrs.asdict(cycle.totals),
    }


def _source_object(
    source: SourceSettings, holder: Holder | None, there: Mapping[str, Budget]
) -> dict[str, Any]:
    budgets, rest = [limit.name for limit in source.budget], there.get(source.unlimited or "")
    return {
        "source": source.name,
        # The first of them stood here alone before there could be several.
        "budget": budgets[0] if budgets else None,
        "budgets": budgets,
        "held_until": moment(rest.held_until) if rest else None,
        "running": holder is not None and holder.runs,
        "host": holder and holder.host,
        "pid": holder and holder.pid,
        "since": moment(holder.since) if holder else None,
        "last_heard": moment(holder.heard) if holder else None,
        "breaker": holder and holder.failing and _failing_object(holder.failing),
    }


def _failing_object(failing: Failing) -> dict[str, Any]:
    return {
        "open_since": moment(failing.since),
        "reason": failing.reason,
        "next_probe_at": moment(failing.next_probe),
    }


def _budget_object(settings: BudgetSettings, found: Budget | None) -> dict[str, Any]:
    return {
        "budget": settings.name,
        "requests": found.tokens if found and found.tokens else settings.requests,
        "per_seconds": found.per if found else settings.per,
        "paths": list(settings.paths),
        "free": found.free if found and found.tokens else settings.requests,
        "next_free_at": moment(found.next_free) if found else None,
        "held_until": moment(found.held_until) if found else None,
        "told": None
        if found is None or found.quota_until is None
        else {"left": found.quota_left, "until": moment(found.quota_until)},
        "counted_from": "answers" if found and found.from_answers else "writing",
        "spent": [_token_object(token) for token in found.spent] if found else [],
    }


def _token_object(token: Token) -> dict[str, Any]:
    return {
        "token": token.number,
        "counted_at": moment(token.counted),
        "free_at": moment(token.free),
        "spent_on": token.spent_on,
    }
