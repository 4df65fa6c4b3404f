"""What is an alarm called, and what is to be done about it?"""

import re
import shlex
from collections.abc import Callable

from syncd.sync.alarm import TESTING, Told
from syncd.views.words import plain

LONGEST = 300  # characters of a reason: a message is read on a telephone

QUERY = re.compile(r"(https?://)(?:[^\s/@]*@)?([^\s?\"'<>#]*)([?#][^\s\"'<>]*)?", re.IGNORECASE)
"""An address in somebody's words: what it carries may be a signature, or a password."""

FIRING = {
    "parked": "{} is parked: it needs a person",
    "failing": "{}: its requests keep failing",
    "suspicious": "{}: its last cycle is in doubt",
    "deletes-held": "{}: deletes are held until someone approves them",
    "dead-letters": "{}: records were put aside",
    "data-too-old": "{}: its data is too old",
    "contract": "{}: what its API sends is not what the config says",
    "api-failing": "{}: its API is failing",
    "login-refused": "{}: its API refuses the login",
    "reload-refused": "the config was refused, the one before goes on",
    "postgres-away": "Postgres is away",
}
RECOVERED = {
    "parked": "{} is not parked any more",
    "failing": "{}: its requests do not fail any more",
    "suspicious": "{}: its last cycle was well",
    "deletes-held": "{}: no deletes are held any more",
    "dead-letters": "{}: no dead letter lies there any more",
    "data-too-old": "{}: its data is not too old any more",
    "contract": "{}: what its API sends is as the config says, or somebody has accepted it",
    "api-failing": "{}: its API is well again",
    "login-refused": "{}: its API does not refuse the login any more",
    "reload-refused": "the config was taken up",
    "postgres-away": "Postgres is back",
}
WHAT_TO_DO = {
    "parked": "Mend that, then `syncd resume {}`.",
    "failing": "It tries again by itself. See whether the API is reachable: `syncd check`.",
    "suspicious": "The table keeps its rows. Look at what the API lists.",
    "deletes-held": "The rows stay. Should they go: `syncd reconcile {} --approve`.",
    "dead-letters": "See `syncd dead list {}`.",
    "data-too-old": "See `syncd status {}` for what it waits for.",
    "contract": "See `syncd contract show {}`; `syncd contract accept {}` if it may stay so.",
    "api-failing": "It asks now and then by itself. See what the API's own status page says.",
    "login-refused": "Correct the credentials, then `syncd reload`.",
    "reload-refused": "Correct the file (`syncd check --offline`), then `syncd reload`.",
    "postgres-away": "See whether Postgres runs; syncd goes on by itself when it is back.",
}


def sentence(told: Told) -> str:
    """What it is, in one sentence; always the same for the same thing."""
    if told.alarm.kind == TESTING:
        return "this is a test: syncd can tell you"
    words = FIRING if told.state == "firing" else RECOVERED
    return words[told.alarm.kind].format(told.alarm.subject)


def todo(told: Told) -> str:
    """What a person may do; nothing when it is over."""
    if told.state != "firing":
        return ""
    usual = WHAT_TO_DO[told.alarm.kind].replace("{}", shlex.quote(told.alarm.subject))
    if not told.todo:
        return usual
    # "Mend that" stands for what the hint says better.
    hint = told.todo.rstrip(".") + "."
    then = usual.removeprefix("Mend that, then ").removesuffix(".")
    return f"{hint} Then {then}." if then != usual.removesuffix(".") else hint


def safe(text: str, hide: Callable[[str], str]) -> str:
    """Somebody's words, fit to leave the house: without secrets, on one line, and short."""
    # First struck out, then cut: half a secret is a secret, too.
    line = plain(QUERY.sub(_bare, hide(text)))
    return line if len(line) <= LONGEST else line[: LONGEST - 1] + "…"


def _bare(found: re.Match[str]) -> str:
    return f"{found[1]}{found[2]}{f'{found[3][0]}***' if found[3] else ''}"
