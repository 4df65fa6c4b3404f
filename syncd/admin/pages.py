"""The files of the status page, in memory: no request waits for a disk.

They are read once, at the start, and come with the package.
"""

import hashlib
import importlib.resources
import mimetypes
from importlib.resources.abc import Traversable

import attrs
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

INDEX = "index.html"
ASK_AGAIN = "no-cache"  # it may be kept, and is asked for whether it is still the same

TYPES = {
    ".js": "text/javascript",
    ".css": "text/css",
    ".html": "text/html",
    ".svg": "image/svg+xml",
}


@attrs.frozen
class File:
    """One file."""

    body: bytes
    kind: str
    tag: str = attrs.field(init=False)

    @tag.default
    def _of_the_body(self) -> str:
        return f'"{hashlib.sha256(self.body).hexdigest()[:16]}"'


@attrs.frozen
class Pages:
    """All of them, by their path under `static`."""

    _files: dict[str, File]

    @classmethod
    def read(cls) -> "Pages":
        """Read those of the package."""
        return cls(dict(_files(importlib.resources.files("syncd.admin").joinpath("static"), "")))

    def answer(self, request: Request, path: str) -> Response:
        """The file, or that the client has it."""
        file = self._files.get(path)
        if file is None:
            raise HTTPException(404)
        headers = {"ETag": file.tag, "Cache-Control": ASK_AGAIN}
        if file.tag in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        return Response(file.body, headers=headers, media_type=file.kind)


def _files(folder: Traversable, path: str) -> list[tuple[str, File]]:
    found: list[tuple[str, File]] = []
    for entry in folder.iterdir():
        name = f"{path}{entry.name}"
        if entry.is_dir():
            found += _files(entry, f"{name}/")
        else:
            found.append((name, File(entry.read_bytes(), _kind(name))))
    return found


def _kind(name: str) -> str:
    end = name[name.rfind(".") :]
    return TYPES.get(end) or mimetypes.guess_type(name)[0] or "application/octet-stream"
