"""Who is told in a box: webhooks, heartbeats and spans, all on one port.  Needs Python alone.

Writes each request as a line of JSON.  The first at each path, and every heartbeat, is refused
with all that it held sent back, as a careless receiver does: what syncd says of that is to be
looked at.
"""

import base64
import json
import sys
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

PORT = 4318
COME = Path("/var/tmp/come")  # noqa: S108 - in the box

seen: Counter[str] = Counter()


class Handler(BaseHTTPRequestHandler):
    """Takes everything."""

    protocol_version = "HTTP/1.1"

    def _take(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        seen[self.path] += 1
        entry = {
            "path": self.path,
            "headers": dict(self.headers.items()),
            "body": base64.b64encode(body).decode(),
        }
        with COME.open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")
        headers = " ".join(f"{n}={v}" for n, v in self.headers.items())
        told = f"what is {self.path} {headers}?"
        refused = seen[self.path] == 1 or self.path.startswith("/beat")
        status, answer = (400, told.encode()) if refused else (200, b"")
        self.send_response(status, None if status == 200 else told)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    do_GET = do_POST = _take  # noqa: N815 - named by http.server

    def log_message(self, *_: object) -> None:
        """Say nothing: what it would say is what it was asked."""


if __name__ == "__main__":
    COME.touch()
    server = ThreadingHTTPServer(("127.0.0.1", PORT), Handler)
    sys.stdout.write("listening\n")
    sys.stdout.flush()
    server.serve_forever()
