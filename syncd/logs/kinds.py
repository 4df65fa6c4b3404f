"""What can syncd say?  Every kind of line, with the words it always has.

`docs/operations.md` explains each of them, and a test holds the page to this list.
The id is journald's MESSAGE_ID: made once at random, and never changed or used again.
"""

from typing import Literal

import attrs

Level = Literal["INFO", "WARNING", "ERROR", "CRITICAL"]


@attrs.frozen
class Kind:
    """One kind of line."""

    name: str
    """SYNCD_EVENT in the journal, `event` in JSON."""

    level: Level
    sentence: str
    id: str


CYCLE_STARTED = Kind("cycle-started", "INFO", "cycle started", "84bceb02f1724f19ad0ffa70e19e5eaa")
CYCLE_RESUMED = Kind(
    "cycle-resumed", "INFO", "cycle taken up again", "90dda944a81c4e878b42a61965726b61"
)
PAGE_COMMITTED = Kind(
    "page-committed", "INFO", "page committed", "ae27927a98c04915a64e5fdb9c778973"
)
CYCLE_ENDED = Kind("cycle-ended", "INFO", "cycle ended", "45db9340de1d465bac38b74bb0b74fca")
CYCLE_DOUBTFUL = Kind(
    "cycle-doubtful", "WARNING", "cycle ended in doubt", "89a1b0838de346fd91ce42cca41df27e"
)
RECONCILED = Kind(
    "reconciled", "INFO", "looked for what is gone", "7822734831eb44d7b1598799480c46b6"
)
DELETES_HELD = Kind(
    "deletes-held",
    "WARNING",
    "deletes are held until someone approves them",
    "8fc89d84e2c946e4b07daeec87599a94",
)
RESTING = Kind(
    "resting", "INFO", "resting until the next cycle", "dc17029fb7504e9495f4e4cd1e7a5ed8"
)
CAUGHT_UP = Kind(
    "caught-up",
    "WARNING",
    "due times had passed: this cycle makes up for them",
    "4845d432063e4b8a8d73244c9ce432cd",
)
LOGGED_IN = Kind("logged-in", "INFO", "logged in", "b78281e84dd945c0afde6684e4456d23")
PUT_ASIDE = Kind("put-aside", "WARNING", "record put aside", "79fb256d043c498aa35046fe214468e4")
LEFT_OUT = Kind("left-out", "INFO", "record left out by a rule", "48a6c00992dc4c13a10ad787834a9f0c")
FIELDS_LEFT_OUT = Kind(
    "fields-left-out", "INFO", "fields that no column names", "8c6159ab67b94f07af5a9b50c23a8211"
)
DRIFTED = Kind(
    "drifted",
    "WARNING",
    "the API's data has left the contract",
    "7e90655b3df94017bb689ba07e73111b",
)
COLUMN_ADDED = Kind("column-added", "INFO", "column added", "d7f701e64adb4635b6d5a3af52e07fe4")
RETRIES_USED_UP = Kind(
    "retries-used-up",
    "ERROR",
    "retries used up, the cycle goes on later",
    "8b3331f44d2e41eb8646acd92ea54776",
)
PARKED = Kind("parked", "ERROR", "stream parked", "742db6071607419dad3ead3131a581ae")

FAILING = Kind("request-failed", "WARNING", "request failed", "064ad99e16f9408aa50ee4b500b379b0")
STILL_FAILING = Kind(
    "requests-still-fail", "WARNING", "requests still fail", "5b6b31bb64694109a75e12d45f5d4c53"
)
FAILING_NO_MORE = Kind(
    "requests-succeed", "INFO", "requests succeed again", "b76829d8d451410fb8135458b83cfb60"
)
API_FAILING = Kind(
    "api-failing",
    "WARNING",
    "the API is failing: only a probe is sent now and then",
    "9962f39fdcb04fed84c8a3094732d4c8",
)
API_STILL_FAILING = Kind(
    "api-still-failing", "WARNING", "the API is still failing", "00f43f00f1ac41d39c8f57c3e6bca492"
)
API_WELL = Kind("api-well", "INFO", "the API is well again", "3208164ab2f0482d906028d83af0dbb4")
AWAY = Kind("postgres-away", "WARNING", "Postgres is away", "69dac703fd83422fb6572c276ed2b602")
STILL_AWAY = Kind(
    "postgres-still-away", "WARNING", "Postgres is still away", "835ab53d8d0f4fdd85469359bbcacc1c"
)
BACK = Kind("postgres-back", "INFO", "Postgres is back", "8ef88b2e81974b73a4b9d1e275b9e3e2")
SILENT = Kind(
    "postgres-silent",
    "WARNING",
    "Postgres has not answered yet",
    "aa4a28adb94148ee9e9b812e5d1accd8",
)
STILL_SILENT = Kind(
    "postgres-still-silent",
    "WARNING",
    "Postgres has still not answered",
    "c12d7a6820864ee19e52758798f84472",
)
ANSWERED = Kind(
    "postgres-answered", "INFO", "Postgres has answered", "9590ba05e06f4bdda726e89ba0c734f0"
)
WENT_BACK = Kind(
    "postgres-went-back",
    "WARNING",
    "Postgres went back to an older state",
    "3bb10e49e9e64f9c8e9c54a5b48c7e36",
)
HELD = Kind(
    "api-asked-to-wait", "WARNING", "the API asked to wait", "60a2d5333241463490d793fc90ab194d"
)
STILL_HELD = Kind(
    "api-still-asks-to-wait",
    "WARNING",
    "the API still asks to wait",
    "8ca941b54ad540b390f7788b4ea9c719",
)
HELD_NO_MORE = Kind(
    "api-answers", "INFO", "the API answers again", "6a5f23ce2be041789de5e302fabfd5f0"
)
LIMIT_MISREAD = Kind(
    "limit-misread",
    "WARNING",
    "the API tells a limit that can't be meant",
    "02906a4f740a4dfabd7c397d4e7209a1",
)

PAUSED = Kind("paused", "INFO", "paused by an operator", "e4026f570bbc4d30b0a9f03e14cc6376")
RELOADED = Kind("reloaded", "INFO", "config reloaded", "cbf0bfbb36bb4359809dfc6b6184c04a")
FATE = Kind(
    "fate",
    "INFO",
    "stream changes with the reload",
    "eac90b78b3624d6c93b6f4b4f1600dc3",
)
REFUSED = Kind(
    "reload-refused",
    "ERROR",
    "config refused, the one before goes on",
    "f616c48d6b0f49b1937fc35cd044f407",
)
ASKED = Kind("asked", "INFO", "asked by an operator", "c277abb919424b29aa1118c97638dbe6")

TOLD = Kind("told", "INFO", "notification delivered", "7dff5ba5170d4901906630f845d769e4")
NOT_TOLD = Kind(
    "not-told",
    "WARNING",
    "a receiver does not take notifications: it is tried again",
    "ffd7b831e92a46e3943adf86490b4b4b",
)
GIVEN_UP = Kind("given-up", "ERROR", "notification given up", "39b3967ad41145a6b06d46415f35a093")
LEFT_UNTOLD = Kind(
    "left-untold",
    "WARNING",
    "left with notifications undelivered",
    "efa5ac9710e14b769bb5791caea43f9a",
)
NOT_KEPT = Kind(
    "not-kept",
    "WARNING",
    "what receivers were told can't be written down",
    "76257a69088240f99ff2bf4d69b8bca1",
)
HEARTBEAT_FAILED = Kind(
    "heartbeat-failed", "WARNING", "heartbeat not sent", "8a25d29479ef40648d13c07f9b258b5a"
)

LEAVING = Kind(
    "leaving", "INFO", "leaving: requests in flight are awaited", "5e003220a6f046aaaa4e460ee3df6eaa"
)
CUT_SHORT = Kind(
    "cut-short",
    "WARNING",
    "asked twice: cutting short what is in flight",
    "4485f7844a7144ddaa4b92a329ecd3b9",
)
BUG = Kind(
    "bug",
    "CRITICAL",
    "a bug stopped syncd: please report it with this entry",
    "c56282ccf61b4c9ca452996efcb74365",
)
DOOR_OPEN = Kind("door-open", "INFO", "the side door is open", "c1aca009afd34c2fb316180000e64d24")
DOOR_REFUSED = Kind(
    "door-refused",
    "WARNING",
    "somebody came to the side door with a wrong token",
    "8da65cf183cf4baf83c67797fbb9127d",
)
DOOR_FAILED = Kind(
    "door-failed",
    "ERROR",
    "the side door could not answer: please report it with this entry",
    "12a0949569744bbe82de28399c98860e",
)
TRACES_BEGUN = Kind(
    "traces-begun", "INFO", "spans are made and exported", "c177304d634245838b6a82112d81b518"
)
NO_TRACES = Kind(
    "no-traces",
    "WARNING",
    "no spans are made, though the environment asks for them",
    "2e7cc8443af74117a8fe2cd8995d064a",
)
SPANS_LOST = Kind(
    "spans-lost", "WARNING", "spans can't be exported", "d2610820d230437eb4a8072103d4c558"
)
SPANS_STILL_LOST = Kind(
    "spans-still-lost",
    "WARNING",
    "spans still can't be exported",
    "0936f94767014dc28749dfb1e5512a56",
)
SPANS_TAKEN = Kind(
    "spans-taken", "INFO", "spans are exported again", "0ea641d1f743488c8dd2061c84b1b799"
)
LINES_LOST = Kind(
    "lines-lost", "WARNING", "log lines were lost", "9f4315d76fa14087b21583231e6a8ca6"
)

ALL = tuple(value for value in list(globals().values()) if isinstance(value, Kind))
BY_SENTENCE = {kind.sentence: kind for kind in ALL}
