"""Where does the embedded Postgres live, and as whom does it run?"""

import os
import pwd
from pathlib import Path
from typing import Any

import attrs

from syncd.errors import SyncdError


class EmbeddedFailed(SyncdError):
    """The embedded Postgres can't be made or started; says why and what to do."""


@attrs.frozen(kw_only=True)
class Place:
    """Its folders under the state directory."""

    state: Path
    user: pwd.struct_passwd | None
    """Postgres refuses to be root: then it is this user."""

    @property
    def home(self) -> Path:
        return self.state / "postgres"

    @property
    def data(self) -> Path:
        return self.home / "data"

    @property
    def log(self) -> Path:
        return self.home / "postgres.log"

    @property
    def as_user(self) -> dict[str, Any]:
        """What a subprocess needs to be run as that user."""
        if self.user is None:
            return {}
        return {"user": self.user.pw_uid, "group": self.user.pw_gid, "extra_groups": []}

    @property
    def version(self) -> int | None:
        """Of the Postgres that made the data; None if there is none yet."""
        try:
            return int((self.data / "PG_VERSION").read_text("ascii"))
        except FileNotFoundError:
            return None


def made(state: Path) -> Place:
    """The place, there and writable; raises EmbeddedFailed."""
    # Whoever shares it may have another working directory.
    state = Path(os.path.abspath(state))  # noqa: PTH100 - resolve() would follow symlinks
    place = Place(state=state, user=_unprivileged(state))
    try:
        state.mkdir(parents=True, exist_ok=True, mode=0o711 if place.user else 0o700)
        place.home.mkdir(exist_ok=True, mode=0o700)
        if place.user is not None:
            os.chown(place.home, place.user.pw_uid, place.user.pw_gid)
        probe = place.home / f".writable-{os.getpid()}"  # others may come at the same time
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        raise EmbeddedFailed(
            f"the state directory {state} can't be used for an embedded Postgres: "
            f"{error.strerror}; make it writable, set `state`, or set `database.url`"
        ) from None
    if place.user is not None:
        for folder in place.home.resolve().parents:
            if not _enters(folder, place.user):
                raise EmbeddedFailed(
                    f"started by root, Postgres runs as {place.user.pw_name}, who can't enter "
                    f"{folder}; chmod o+x it, set `state` to another place, or set `database.url`"
                )
    return place


def _unprivileged(state: Path) -> pwd.struct_passwd | None:
    if os.geteuid() != 0:
        return None
    try:
        # Data that an ordinary user made stays theirs: Postgres serves nobody else's.
        owner = (state / "postgres" / "data").stat().st_uid
        if owner != 0:
            return pwd.getpwuid(owner)
    except (OSError, KeyError):
        pass
    for name in (os.environ.get("SYNCD_POSTGRES_USER"), "postgres", "nobody"):
        try:
            if name and pwd.getpwnam(name).pw_uid != 0:
                return pwd.getpwnam(name)
        except KeyError:
            continue
    raise EmbeddedFailed(
        "Postgres refuses to run as root, and there is no user postgres or nobody; name one in "
        "SYNCD_POSTGRES_USER, or set `database.url`"
    )


def reachable(folder: Path, user: pwd.struct_passwd) -> bool:
    """Whether that user can enter the folder and all above it."""
    real = folder.resolve()
    return all(_enters(p, user) for p in [real, *real.parents])


def _enters(path: Path, user: pwd.struct_passwd) -> bool:
    stat = path.stat()
    if stat.st_uid == user.pw_uid:
        return bool(stat.st_mode & 0o100)
    if stat.st_gid == user.pw_gid:
        return bool(stat.st_mode & 0o010)
    return bool(stat.st_mode & 0o001)
