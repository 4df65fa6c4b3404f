"""The shipped rules, dashboard and scrape config, as promtool and Grafana read them."""

import re
import subprocess
from itertools import combinations
from typing import Any

import pytest
import yaml

from syncd.metrics import kinds
from tests.metrics.dashboard import dashboard, panels, targets
from tests.metrics.prometheus import MONITORING, ROOT, RULES, faster, promtool
from tests.metrics.test_metrics import full
from tests.unit.test_documents import anchors

PAGE = ROOT / "docs" / "monitoring.md"
NOT_OURS = re.compile(r"process_\w+|up|ALERTS")
FUNCTIONS = {
    *("sum", "min", "max", "count", "rate", "increase", "delta", "changes", "absent", "time"),
    *("by", "on", "without", "and", "or", "unless", "histogram_quantile", "vector"),
}


def rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load(RULES.read_text("utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def metrics_in(expression: str) -> set[str]:
    """The names of the metrics that an expression asks for."""
    bare = re.sub(r"\{[^}]*\}|\[[^]]*\]|(?:by|on|without)\s*\([^)]*\)", " ", expression)
    return set(re.findall(r"[a-z_A-Z]\w{2,}", bare)) - FUNCTIONS - {"or"}


def exposed() -> set[str]:
    """The names under which our metrics come out."""
    names = set()
    for kind in kinds.ALL:
        suffixes = ("_bucket", "_sum", "_count") if kind.type == "histogram" else ("",)
        names |= {kind.name + suffix for suffix in suffixes}
    return names


def unknown(expression: str) -> set[str]:
    return {n for n in metrics_in(expression) - exposed() if not NOT_OURS.fullmatch(n)}


@pytest.mark.prometheus
@pytest.mark.parametrize(
    "arguments",
    [
        ("check", "rules", "alerts.yml"),
        ("test", "rules", "alerts_test.yml"),
        ("check", "config", "prometheus.yml"),
    ],
    ids=" ".join,
)
def test_promtool_has_nothing_to_say(arguments: tuple[str, ...]) -> None:
    """Each alert fires when it should, and does not when it should not."""
    done = subprocess.run(
        [promtool(), *arguments], cwd=MONITORING, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "SUCCESS" in done.stdout


@pytest.mark.prometheus
def test_promtool_finds_the_metrics_well_named() -> None:
    """Prometheus's own lint: units, suffixes, help texts."""
    text, _ = full("shop").render("text/plain")
    done = subprocess.run(
        [promtool(), "check", "metrics"], input=text, capture_output=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_each_alert_is_tried_firing_and_not_firing() -> None:
    """In the file that promtool runs."""
    tests = yaml.safe_load((MONITORING / "alerts_test.yml").read_text("utf-8"))["tests"]
    fires: set[str] = set()
    silent: set[str] = set()
    for test in tests:
        alert = test["name"].partition(":")[0]
        last = test["promql_expr_test"][-1]
        assert f'alertname="{alert}"' in last["expr"]
        (fires if last["exp_samples"] else silent).add(alert)
    names = {rule["alert"] for rule in rules()}
    assert fires == silent == names


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule["alert"])
def test_each_alert_says_what_to_do_and_the_page_says_the_same(rule: dict[str, Any]) -> None:
    """Whoever is woken reads the same words in the message and behind its link."""
    name, words = rule["alert"], rule["annotations"]
    assert set(words) == {"summary", "description", "action", "runbook"}
    assert rule["labels"]["severity"] in ("critical", "warning")
    page, _, anchor = words["runbook"].partition("#")
    assert ROOT / page == PAGE
    assert anchor in anchors(PAGE)
    section = section_of(name)
    assert words["action"] in section
    assert rule["labels"]["severity"] in section


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule["alert"])
def test_each_alert_asks_for_metrics_that_there_are(rule: dict[str, Any]) -> None:
    assert not unknown(rule["expr"])


def test_the_page_lists_every_metric_and_no_other() -> None:
    """With its type, its labels, and the words that it goes out with."""
    listed = {}
    for line in PAGE.read_text("utf-8").splitlines():
        if found := re.fullmatch(r"\| `(syncd_\w+)` \| (\w+) \| (.*) \| (.*) \|", line):
            listed[found[1]] = (found[2], found[3], found[4])
    there = {
        k.name: (k.type, ", ".join(f"`{label}`" for label in k.labels) or "none", k.help)
        for k in kinds.ALL
    }
    assert listed == there


def test_the_page_lists_every_alert_and_no_other() -> None:
    named = set(re.findall(r"^### (Syncd\w+)$", PAGE.read_text("utf-8"), re.MULTILINE))
    assert named == {rule["alert"] for rule in rules()}


def test_no_two_panels_are_the_same_or_in_each_others_way() -> None:
    """Grafana would move them, and link to the wrong one."""
    every = dashboard()["panels"]
    assert len({panel["id"] for panel in every}) == len(every)
    assert len({panel["title"] for panel in every}) == len(every)
    for one, other in combinations(every, 2):
        assert not _overlap(one["gridPos"], other["gridPos"]), (one["title"], other["title"])
    for panel in every:
        assert panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24
    rows = [panel["title"] for panel in every if panel["type"] == "row"]
    assert rows[0] == "Can the tables be trusted?"


def test_every_panel_follows_the_variables() -> None:
    """The data source is chosen, and nothing is shown of what is not."""
    variables = {v["name"]: v for v in dashboard()["templating"]["list"]}
    assert list(variables) == ["datasource", "job", "instance", "source", "stream"]
    assert variables["datasource"]["type"] == "datasource"
    chosen = {"type": "prometheus", "uid": "${datasource}"}
    for panel in panels():
        assert panel["datasource"] == chosen
        assert panel["fieldConfig"]["defaults"]["unit"]
        assert len({t["refId"] for t in panel["targets"]}) == len(panel["targets"])
        for target in panel["targets"]:
            assert target["datasource"] == chosen
            alerts = target["expr"].startswith("count(ALERTS")
            assert alerts or 'instance=~"$instance"' in target["expr"], target["expr"]


def test_every_panel_asks_for_metrics_that_there_are() -> None:
    for target in targets():
        assert not unknown(target.expression), target


def test_the_faster_rules_are_rules() -> None:
    """What the outage is played against differs in its durations alone."""
    quick = yaml.safe_load(faster(RULES.read_text("utf-8")))
    assert [r["alert"] for g in quick["groups"] for r in g["rules"]] == [
        r["alert"] for r in rules()
    ]


def section_of(alert: str) -> str:
    text = PAGE.read_text("utf-8")
    return text.partition(f"### {alert}\n")[2].partition("\n### ")[0].partition("\n## ")[0]


def _overlap(one: dict[str, int], other: dict[str, int]) -> bool:
    apart = (
        one["x"] + one["w"] <= other["x"]
        or other["x"] + other["w"] <= one["x"]
        or one["y"] + one["h"] <= other["y"]
        or other["y"] + other["h"] <= one["y"]
    )
    return not apart
