"""What does an answer look like before it is sent?"""

import json
from http import HTTPStatus
from typing import Any

import attrs

Headers = tuple[tuple[bytes, bytes], ...]

JSON: Headers = ((b"content-type", b"application/json"),)
HTML: Headers = ((b"content-type", b"text/html; charset=utf-8"),)


@attrs.frozen
class Answer:
    """Status, body and headers; the length is added when it is sent."""

    status: int
    body: bytes
    headers: Headers = JSON


def json_answer(status: int, value: Any, *, headers: Headers = ()) -> Answer:
    return Answer(status, json.dumps(value).encode(), JSON + headers)


def error(status: int, message: str, *, headers: Headers = (), **more: Any) -> Answer:
    """An error as the platform words it."""
    body = {"error": HTTPStatus(status).phrase, "message": message, **more}
    return json_answer(status, body, headers=headers)


def html_not_found(path: str) -> Answer:
    shown = path.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    page = (
        "<!DOCTYPE html>\n<html><head><title>Error</title></head>\n"
        f"<body><pre>Cannot find {shown}</pre></body></html>\n"
    )
    return Answer(404, page.encode("utf-8", "replace"), HTML)
