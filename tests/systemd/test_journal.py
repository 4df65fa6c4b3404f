"""What an administrator finds in the journal, with the commands of the README."""

import json
import re

import pytest

from syncd.logs import kinds
from tests.systemd.boxes import UNITS, Box, configured
from tests.systemd.catalog import PAGE, catalog

CATALOG = (UNITS / "syncd.catalog").read_text("utf-8")


def test_the_catalog_says_what_the_page_says() -> None:
    """What journalctl -x shows explains each kind of line as the page does."""
    assert catalog(PAGE.read_text("utf-8")) == CATALOG, "run scripts/catalog"


@pytest.mark.systemd
def test_the_journal_can_be_asked_for_a_stream_a_priority_and_what_it_means(box: Box) -> None:
    """By stream, by warning, as JSON, and with the catalog below each line."""
    box.write("/usr/local/lib/systemd/catalog/syncd.catalog", CATALOG)
    box.run("journalctl", "--update-catalog")
    listed = box.out("journalctl", "--list-catalog")
    assert all(f"{kind.id} syncd: {kind.sentence}" in listed for kind in kinds.ALL)

    second = """
[sources.adplatform.streams.more]
path = "/api/campaigns"
records = "data"
key = ["id"]
columns = { id = "text" }
page = { size = 50, more = "pagination.has_more" }
"""
    box.install(configured() + second)
    # A record without its key: one that is put aside, with a warning.
    box.ask(
        "PATCH", "/campaigns/" + box.ask("GET", "/campaigns")["data"][3]["id"], {"drop": ["id"]}
    )
    box.systemctl("start", "syncd")
    for stream in ("campaigns", "more"):
        box.entry("SYNCD_EVENT=cycle-ended", f"SYNCD_STREAM={stream}")

    streams = box.journal("SYNCD_STREAM=campaigns")
    assert {(e["SYNCD_SOURCE"], e["SYNCD_STREAM"]) for e in streams} == {
        ("adplatform", "campaigns")
    }
    assert box.out("journalctl", "-q", "SYNCD_STREAM=campaigns").count("\n") == len(streams) - 1
    pages = [e for e in streams if e["SYNCD_EVENT"] == "page-committed"]
    assert [int(e["SYNCD_PAGE"]) for e in pages] == list(range(1, 11))
    assert len({e["SYNCD_CYCLE"] for e in pages}) == 1

    warnings = box.journal("-p", "warning")
    assert {e["SYNCD_EVENT"] for e in warnings} >= {"put-aside", "request-failed"}
    assert {int(e["PRIORITY"]) for e in warnings} == {4}
    assert not [e for e in warnings if e["SYNCD_EVENT"] == "page-committed"]

    told = box.out("journalctl", "-q", "-u", "syncd", "-o", "json", "SYNCD_EVENT=put-aside")
    entry = json.loads(told.splitlines()[0])
    assert entry["MESSAGE_ID"] == kinds.PUT_ASIDE.id
    assert entry["SYSLOG_IDENTIFIER"] == "syncd"
    assert entry["SYNCD_KIND"]
    assert entry["MESSAGE"].startswith(f"{entry['SYNCD_SOURCE']}.{entry['SYNCD_STREAM']}: record")

    explained = box.out("journalctl", "-q", "-x", "SYNCD_EVENT=put-aside")
    assert re.search(r"^░░ Subject: record put aside$", explained, re.MULTILINE), explained
    assert "What to do: syncd dead list, syncd dead show." in explained

    # Everything that it said itself is of a known kind, under its own name.
    own = box.journal("-t", "syncd")
    ids = {kind.id for kind in kinds.ALL}
    assert [e["MESSAGE"] for e in own if e.get("MESSAGE_ID") not in ids] == []
    assert {e["_SYSTEMD_UNIT"] for e in own} == {"syncd.service"}
