"""What does the config say of an answer, before syncd judges it?  Pure.

The first rule that fits is the one.  A rule that can't be followed for a request is passed
over: only a call's record can be skipped, and only a list that has begun can end.
"""

from syncd.api.decode import Envelope, looked_into, text_at
from syncd.api.exchange import Answer, Ask
from syncd.api.hints import wait_hint
from syncd.config.settings import ErrorRule
from syncd.errors import (
    ApiUnavailable,
    CallFailed,
    CallSkipped,
    NotNow,
    ParkedByRule,
    RateLimited,
    SyncdError,
    UnexpectedAnswer,
)
from syncd.sync.events import Purpose

NOT_CARRIED_OUT = (503, 425)  # the server says that it did not act; with 429
TIMED_OUT = 408  # alone among the 4xx it says nothing of what became of the request


def rules_for(
    rules: tuple[ErrorRule, ...], purpose: Purpose, *, first: bool = False
) -> tuple[ErrorRule, ...]:
    """Those that can be followed for a request; first: it asks for a list's first page."""
    passed = {"skip"} if purpose != "call" else set()
    if purpose != "list" or first:
        passed.add("end")
    return tuple(rule for rule in rules if rule.then not in passed)


def rule_of(rules: tuple[ErrorRule, ...], answer: Answer) -> ErrorRule | None:
    """The first rule that names the answer."""
    envelope = looked_into(answer.body)
    return next((rule for rule in rules if _names(rule, answer, envelope)), None)


def _names(rule: ErrorRule, answer: Answer, envelope: Envelope) -> bool:
    status = str(answer.status)
    if rule.status and status not in rule.status and f"{status[0]}xx" not in rule.status:
        return False
    headers, body = rule.header.items(), rule.body.items()
    return all(_header(answer, name) in texts for name, texts in headers) and all(
        text_at(envelope, path) in texts for path, texts in body
    )


def _header(answer: Answer, name: str) -> str | None:
    value = answer.headers.get(name.lower())
    return None if value is None else value.strip()


def turned_away(rule: ErrorRule, status: int) -> bool:
    """Whether an answer that the rule names says that nothing was carried out.

    By its status; or, where the API breaks or says that all is well, by words of its own in
    which the rule sees a quota or a token that has ended: these are looked at before anything
    is done.
    """
    if status in NOT_CARRIED_OUT or (400 <= status < 500 and status != TIMED_OUT):
        return True
    return rule.then in ("wait", "login") and bool(rule.header or rule.body)


def with_words(rule: ErrorRule, said: str) -> str:
    """The operator's words, before what was asked and answered."""
    return f"{rule.says}: {said}" if rule.says else said


def ruled(
    rule: ErrorRule, ask: Ask, answer: Answer, words: str, *, path: str | None, undone: bool
) -> SyncdError:
    """What a request has come to whose answer the rule names.

    words: the API's own.
    path: where its body holds a wait.
    undone: it says itself that the call was not carried out.
    """
    reason = with_words(rule, f"{ask} answered {answer.status}: {words}")
    refused = undone or turned_away(rule, answer.status)
    if ask.once and not refused and rule.then not in ("skip", "park"):
        # "fail" as well: the dead letter of a call that has failed makes it again.
        return CallFailed("outcome-unknown", reason)
    match rule.then:
        case "retry":
            hint = wait_hint(answer.headers, answer.body, path, refused=answer.status == 429)
            ill = answer.status >= 500 or answer.status == TIMED_OUT
            kind = ApiUnavailable if ill else NotNow
            return kind(reason, hint=hint, sent="refused" if refused else "unknown")
        case "wait":
            # Where the file says how long, the end of a window of which something is left
            # says nothing.
            quota = answer.status == 429 or rule.hold is None
            hint = wait_hint(answer.headers, answer.body, path, refused=quota)
            return RateLimited(reason, hint=hint or rule.hold)
        case "skip":
            return CallSkipped(reason, cause=rule.says or f"answered {answer.status}")
        case "park":
            return ParkedByRule(
                reason,
                hint="A rule parks the stream for this; once it is mended, `syncd resume`",
                refused=refused,
            )
        case _ if ask.purpose == "call":
            return CallFailed("call-failed", reason)
        case _:
            return UnexpectedAnswer(
                reason, hint="A rule takes this for final; once it is mended, `syncd resume`"
            )
