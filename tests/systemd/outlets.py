"""All that syncd sends, and all that it shows to who asks, beside its log: one function each.

Whoever adds a way out of syncd adds it to `OUTLETS`; the canary looks through all of them.
"""

import base64
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.systemd.boxes import Box, until
from tests.systemd.receiver import COME, PORT

Outlet = Callable[[Box], Iterator[tuple[str, str]]]

DOOR = "127.0.0.1:8321"
RECEIVER = f"http://127.0.0.1:{PORT}"
TOKEN = "/etc/syncd/admin-token"

ASK = f"""
import http.client, json, pathlib, sys
found = {{}}
def ask(name, method, path, body=None, **headers):
    connection = http.client.HTTPConnection("{DOOR}", timeout=20)
    if body is not None:
        headers["Content-Type"] = "application/json"
    connection.request(method, path, body=body, headers=headers)
    answer = connection.getresponse()
    # Of a stream that does not end, its first lines.
    endless = "event-stream" in answer.getheader("Content-Type", "")
    lines = [answer.readline() for _ in range(4)] if endless else [answer.read()]
    text = b"".join(lines).decode("utf-8", "replace")
    found[f"{{name}} ({{method}} {{path}})"] = (
        f"{{answer.status}}\\n{{answer.headers.as_string()}}\\n{{text}}"
    )
    connection.close()
    return text
token = {{"Authorization": "Bearer " + pathlib.Path("{TOKEN}").read_text()}}
"""

READ = """
for path in (
    "/healthz", "/readyz", "/metrics", "/", "/api/status", "/api/cycles?limit=100",
    "/api/dead?limit=100", "/api/openapi.json", "/api/events", "/api/nowhere",
    "/api/requests/1",
):
    ask("the side door", "GET", path)
for letter in json.loads(ask("the side door", "GET", "/api/dead"))["letters"]:
    ask("the side door", "GET", f"/api/dead/{letter['id']}", **token)
ask("the side door", "GET", "/api/why?stream=adplatform.campaigns&key=camp_1", **token)
ask("the side door", "GET", "/api/audit?limit=100", **token)
ask("the side door", "GET", "/api/audit", Authorization="Bearer wrong")
json.dump(found, sys.stdout)
"""

WRITE = """
import time
def done(text):
    for number in json.loads(text)["requests"]:
        while not json.loads(ask("the side door", "GET", f"/api/requests/{number}"))["done"]:
            time.sleep(0.1)
stream = "/api/streams/adplatform.campaigns"
done(ask("the side door", "POST", f"{stream}/sync", '{"keys": ["camp_1"]}', **token))
for action in ("pause", "resume", "nothing"):
    text = ask("the side door", "POST", f"{stream}/{action}", "{}", **token)
ask("the side door", "POST", "/api/dead/retry", '{"ids": [1]}', **token)
ask("the side door", "POST", "/api/reload", "{}", Authorization="Bearer wrong")
ask("the side door", "POST", "/api/reload", "no JSON", **token)
json.dump(found, sys.stdout)
"""


def listen(box: Box) -> None:
    """Have somebody in the box who is told, and waits for spans."""
    program = "/usr/local/lib/receiver.py"
    box.write(program, Path(__file__).with_name("receiver.py").read_text("utf-8"))
    start = ("systemd-run", "--quiet", "--collect", "--unit=receiver", "/opt/mock/bin/python")
    box.run(*start, program)
    until(lambda: "listening" in box.tail("receiver"), "the receiver listens")


def forget(box: Box) -> None:
    """What has come so far is nothing any more."""
    box.write(str(COME), "")


def come(box: Box, path: str) -> list[dict[str, Any]]:
    """What has come at a path that begins so."""
    entries = [json.loads(line) for line in box.out("cat", str(COME)).splitlines()]
    return [e for e in entries if e["path"].startswith(path)]


def texts(box: Box, path: str) -> list[str]:
    """The texts that have come there."""
    return [base64.b64decode(entry["body"]).decode() for entry in come(box, path)]


def told(box: Box, path: str, *words: str) -> bool:
    """Has a message with all these words come there?"""
    return any(all(word in text for word in words) for text in texts(box, path))


def asked(box: Box, script: str) -> dict[str, str]:
    """What the side door answers to a script's questions."""
    done = box.run("/opt/mock/bin/python", "-c", ASK + script)
    found: dict[str, str] = json.loads(done.stdout)
    return found


def the_door(box: Box) -> Iterator[tuple[str, str]]:
    """Every page, every figure and every object, read; first something is asked for."""
    yield from asked(box, WRITE).items()
    yield from asked(box, READ).items()


def the_audit(box: Box) -> Iterator[tuple[str, str]]:
    yield "the audit", box.local_psql("SELECT * FROM syncd.audit")


def the_webhooks(box: Box) -> Iterator[tuple[str, str]]:
    """But for the address, which the receiver knows, and the signature."""
    for way in ("/hook", "/slack"):
        yield f"the webhooks at {way}", "\n".join(texts(box, way))


def the_heartbeats(box: Box) -> Iterator[tuple[str, str]]:
    yield "the heartbeats", "\n".join(f"{e['headers']} {e['body']}" for e in come(box, "/beat"))


def the_spans(box: Box) -> Iterator[tuple[str, str]]:
    """As they came, and as a person reads them; without what opens the collector."""
    bodies = [base64.b64decode(e["body"]) for e in come(box, "/v1/traces")]
    read = [str(ExportTraceServiceRequest.FromString(body)) for body in bodies]
    yield "the spans", "\n".join(read)
    yield "the spans as bytes", "\n".join(body.decode("latin-1") for body in bodies)


OUTLETS: tuple[Outlet, ...] = (the_door, the_audit, the_webhooks, the_heartbeats, the_spans)


def everything_sent(box: Box) -> Iterator[tuple[str, str]]:
    """Through every outlet."""
    for outlet in OUTLETS:
        yield from outlet(box)
