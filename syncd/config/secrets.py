"""Where does a secret come from?  Never from the file itself.

Four ways: `{ credential = "name" }` (systemd's LoadCredential), `{ env = "NAME" }`,
`{ file = "/path" }`, and `{ command = ["vault", "kv", "get", …] }`, which is any
secrets manager's own client.
"""

import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

from syncd.config.settings import Secret, Settings
from syncd.errors import Fault

WAYS = (
    'one of { credential = "name" }, { env = "NAME" }, { file = "/path" } and '
    '{ command = ["program", "argument"] }'
)
TIMEOUT = 30.0  # seconds that a command may take


@attrs.frozen(kw_only=True)
class Secrets:
    """Looks references up; `offline` gives stand-ins instead of looking."""

    environ: Mapping[str, str] = attrs.field(repr=False)
    beside: Path
    """The config file's folder: a relative `file` is looked for there."""

    offline: bool
    faults: list[Fault]

    def reveal(self, reference: Mapping[str, Any], path: str) -> Secret:
        """The secret; what goes wrong is noted as a fault, without a byte of any value."""
        kinds: dict[str, type] = {"credential": str, "env": str, "file": str, "command": list}
        kind = next(iter(reference), "")
        value: Any = reference.get(kind)
        good = len(reference) == 1 and kind in kinds and isinstance(value, kinds[kind])
        good = good and bool(value)
        if kind == "command" and good:
            good = all(isinstance(word, str) for word in value)
        if not good:
            self._fault(path, f"found {{ {', '.join(map(str, reference))} }}; it must be {WAYS}")
            return Secret("", "nowhere")
        origin = f"{kind} {value[0] if isinstance(value, list) else value}"
        if self.offline:
            return Secret("not-looked-up", origin)
        try:
            found = getattr(self, f"_from_{kind}")(value)
        except _MissingError as missing:
            self._fault(path, str(missing))
            return Secret("", origin)
        text = found.removesuffix("\n").removesuffix("\r")
        if not text:
            self._fault(path, f"the secret from {origin} is empty")
        return Secret(text, origin)

    def _from_credential(self, name: str) -> str:
        folder = self.environ.get("CREDENTIALS_DIRECTORY")
        if not folder:
            raise _MissingError(
                f"credential {name!r}: $CREDENTIALS_DIRECTORY is not set; under systemd, add "
                f"LoadCredential={name}:/path/to/file to the unit"
            )
        return self._read(Path(folder) / name, f"credential {name!r}")

    def _from_env(self, name: str) -> str:
        if name not in self.environ:
            raise _MissingError(
                f"the environment variable {name} is not set; set it, or use another way"
            )
        return self.environ[name]

    def _from_file(self, name: str) -> str:
        return self._read(self.beside / name, "file")

    def _from_command(self, command: list[str]) -> str:
        try:
            done = subprocess.run(  # noqa: S603 - the operator's own command, without a shell
                command, capture_output=True, timeout=TIMEOUT, stdin=subprocess.DEVNULL, check=False
            )
        except (OSError, ValueError) as error:
            raise _MissingError(f"command {command[0]!r} can't be run: {error}") from None
        except subprocess.TimeoutExpired:
            raise _MissingError(
                f"command {command[0]!r} took longer than {TIMEOUT:.0f} s"
            ) from None
        if done.returncode != 0:
            # Its stdout may hold a part of the secret; stderr is where it says what is wrong.
            said = done.stderr.decode("utf-8", "replace").strip().splitlines()
            first = f": {said[0][:200]}" if said else ""
            raise _MissingError(f"command {command[0]!r} ended with {done.returncode}{first}")
        return self._decoded(done.stdout, f"command {command[0]!r}")

    def _read(self, path: Path, what: str) -> str:
        try:
            return self._decoded(path.read_bytes(), what)
        except (OSError, ValueError) as error:
            said = error.strerror if isinstance(error, OSError) else error
            raise _MissingError(f"{what}: can't read {path}: {said}") from None

    def _decoded(self, data: bytes, what: str) -> str:
        try:
            return data.decode("utf-8")
        except UnicodeDecodeError:
            raise _MissingError(f"{what}: it is not UTF-8 text") from None

    def _fault(self, path: str, message: str) -> None:
        self.faults.append(Fault(path=path, message=message))


class _MissingError(Exception):
    """Says where it was looked for and what to do."""


def redactions(settings: Settings) -> list[str]:
    """Every secret value of these settings, for who must keep them out of what is shown."""
    found = [settings.database.url]
    for source in settings.sources.values():
        found += source.headers.values()
        if source.auth is not None:
            found += [source.auth.username, source.auth.password]
    return [secret.reveal() for secret in found if isinstance(secret, Secret)]
