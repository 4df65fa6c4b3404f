"""Where does a secret come from?  Never from the file itself.

Four ways: `{ credential = "name" }` (systemd's LoadCredential), `{ env = "NAME" }`,
`{ file = "/path" }`, and `{ command = ["vault", "kv", "get", …] }`, which is any
secrets manager's own client.
"""

import contextlib
import os
import re
import signal
import subprocess
import urllib.parse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

from syncd.config.commands import TooMuchError, outputs
from syncd.config.settings import UNRESOLVED, Secret, Settings

WAYS = (
    'one of { credential = "name" }, { env = "NAME" }, { file = "/path" } and '
    '{ command = ["program", "argument"] }'
)
TIMEOUT = 30.0  # seconds that a command may take
LARGEST = 2**20  # bytes; beyond that it is no secret, or a device without an end

TELLING = 16  # characters; a shorter part of an address is no secret, and a word elsewhere

IN_WORDS = re.compile(
    r"password\s*=\s*(?:'((?:\\.|[^'\\])*)'|((?:\\.|[^\s'\\])(?:\\.|[^\s\\])*))", re.DOTALL
)
"""libpq's `password = 'a b'` and `password=ab`, each with backslashes before what is special."""

Lookup = str | list[str]
"""What stands in a reference: a name, a path, or a command's words."""


class MissingSecretError(Exception):
    """Says where it was looked for and what to do; never holds a byte of any value."""


@attrs.frozen(kw_only=True)
class Secrets:
    """Looks references up; `offline` gives stand-ins instead of looking."""

    environ: Mapping[str, str] = attrs.field(repr=False)
    beside: Path
    """The config file's folder: a relative `file` is looked for there."""

    offline: bool
    _found: dict[str, str] = attrs.field(factory=dict, init=False, repr=False)
    """A hundred accounts may name the same secret: its command is run once."""

    def reveal(self, reference: Mapping[str, Any]) -> Secret:
        """The secret; raises MissingSecretError."""
        kind, value = _understood(reference)
        origin = f"{kind} {value[0] if isinstance(value, list) else value}"
        if self.offline:
            return Secret(UNRESOLVED, origin)
        asked = f"{kind} {value!r}"
        if asked not in self._found:
            self._found[asked] = _clean(self._look_up(kind, value), origin)
        return Secret(self._found[asked], origin)

    def _look_up(self, kind: str, value: Lookup) -> str:
        if isinstance(value, list):
            return self._from_command(value)
        if kind == "credential":
            return self._from_credential(value)
        return self._from_env(value) if kind == "env" else self._from_file(value)

    def _from_credential(self, name: str) -> str:
        folder = self.environ.get("CREDENTIALS_DIRECTORY")
        advice = f"add LoadCredential={name}:/path/to/file to the unit"
        if not folder:
            raise MissingSecretError(
                f"credential {name!r}: $CREDENTIALS_DIRECTORY is not set; under systemd, {advice}"
            )
        return _read(Path(folder) / name, f"credential {name!r}", advice)

    def _from_env(self, name: str) -> str:
        if name not in self.environ:
            raise MissingSecretError(
                f"the environment variable {name} is not set; set it (under systemd with "
                "EnvironmentFile=), or use another way"
            )
        return self.environ[name]

    def _from_file(self, name: str) -> str:
        advice = "it must be a file that the user who runs syncd can read"
        return _read(self.beside / name, "file", advice)

    def _from_command(self, command: list[str]) -> str:
        what = f"command {command[0]!r}"
        try:
            process = subprocess.Popen(  # noqa: S603 - the operator's own command, without a shell
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=dict(self.environ),
                # So that its children can be ended with it: they may hold its stdout open.
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            said = error.strerror if isinstance(error, OSError) else error
            raise MissingSecretError(f"{what} can't be run: {said}") from None
        with process:
            try:
                output, errors = outputs(process, timeout=TIMEOUT, largest=LARGEST)
            except (subprocess.TimeoutExpired, TooMuchError) as error:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(process.pid, signal.SIGKILL)
                late = isinstance(error, subprocess.TimeoutExpired)
                much = (
                    f"took longer than {TIMEOUT:g} s" if late else f"printed over {LARGEST} bytes"
                )
                raise MissingSecretError(f"{what} {much}; try it by hand") from None
        if process.returncode != 0:
            # Its stdout may hold a part of the secret; stderr is where it says what is wrong.
            said = errors.decode("utf-8", "replace").strip().partition("\n")[0][:200]
            raise MissingSecretError(
                f"{what} ended with {process.returncode}{': ' if said else ''}{said}; "
                "try it by hand, as the user who runs syncd"
            )
        return _decoded(output, what)


def _understood(reference: Mapping[str, Any]) -> tuple[str, Lookup]:
    if len(reference) == 1:
        [(kind, value)] = reference.items()
        words = isinstance(value, list) and all(isinstance(word, str) for word in value)
        if kind == "command" and words and value and value[0]:
            return kind, value
        if kind in ("credential", "env", "file") and isinstance(value, str) and value:
            if kind != "credential" or "/" not in value:
                return kind, value
            raise MissingSecretError(f"credential {value!r}: a credential's name holds no '/'")
    # Only the keys: a secret's value may stand beside them by mistake.
    keys = ", ".join(map(str, reference))
    raise MissingSecretError(f"found {{{f' {keys} ' if keys else ''}}}; it must be {WAYS}")


def _read(path: Path, what: str, advice: str) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(LARGEST + 1)
    except (OSError, ValueError) as error:
        said = error.strerror if isinstance(error, OSError) else error
        raise MissingSecretError(f"{what}: can't read {path}: {said}; {advice}") from None
    if len(data) > LARGEST:
        raise MissingSecretError(f"{what}: {path} is larger than {LARGEST} bytes; is it the one?")
    return _decoded(data, what)


def _decoded(data: bytes, what: str) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        raise MissingSecretError(f"{what}: it is not UTF-8 text") from None


def _clean(text: str, origin: str) -> str:
    """Without the line's end that editors and commands add."""
    text = text.removesuffix("\n").removesuffix("\r")
    if not text:
        raise MissingSecretError(f"the secret from {origin} is empty; put its value there")
    if any("\ud800" <= c <= "\udfff" for c in text):  # how Python holds bytes that are no text
        raise MissingSecretError(f"the secret from {origin} is not UTF-8 text")
    return text


def redactions(settings: Settings) -> list[str]:
    """Every secret value of these settings, for who must keep them out of what is shown."""
    found: list[object] = [settings.database.url, settings.token_key]
    found.append(settings.admin and settings.admin.token)
    addresses: list[Secret] = []
    values: list[str] = []
    for source in settings.sources.values():
        found += source.headers.values()
        found += [stream.hide_key for stream in source.streams.values()]
        values += source.auth.secrets() if source.auth is not None else []
        values += source.tls.secrets() if source.tls is not None else []
        addresses += [stream.heartbeat for stream in source.streams.values() if stream.heartbeat]
    for receiver in settings.notify:
        found.append(receiver.secret)
        addresses.append(receiver.url)
    found += addresses
    values += [part for address in addresses for part in _of_address(address)]
    values += [secret.reveal() for secret in found if isinstance(secret, Secret)]
    if isinstance(settings.database.url, Secret):
        values += _passwords(settings.database.url.reveal())
    return list(dict.fromkeys(v for v in values if v and v != UNRESOLVED))


def _of_address(url: Secret) -> list[str]:
    """What of an address is secret where it stands alone: what leads to the receiver there."""
    parts = urllib.parse.urlsplit(url.reveal())
    way = f"{parts.path}?{parts.query}" if parts.query else parts.path
    return [part for part in (way, parts.password or "") if len(part) >= TELLING]


def _passwords(url: str) -> list[str]:
    """The password alone, as Postgres or a driver may repeat it without the rest of the URL."""
    if url.startswith(("postgresql://", "postgres://")):
        written = re.findall(r"//[^/@:]*:([^@]*)@", url) + re.findall(r"password=([^&]+)", url)
        plain = [urllib.parse.unquote(text) for text in written]
    else:
        written = [quoted or word for quoted, word in IN_WORDS.findall(url)]
        plain = [re.sub(r"\\(.)", r"\1", text, flags=re.DOTALL) for text in written]
    return written + plain
