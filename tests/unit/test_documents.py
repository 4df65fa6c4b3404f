"""Whether the pages say what syncd does."""

import re
from pathlib import Path
from typing import get_args, get_type_hints

import attrs
import pytest

from syncd.cli import cli
from syncd.config.load import load
from syncd.config.settings import (
    AdminSettings,
    AuthSettings,
    BudgetSettings,
    CallSettings,
    DatabaseSettings,
    DeletedSettings,
    ErrorRule,
    IncrementalSettings,
    NotifySettings,
    PageSettings,
    SearchSettings,
    Settings,
    SourceSettings,
    StreamSettings,
    TlsSettings,
    VerifySettings,
)
from syncd.errors import ConfigError

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
CONFIGURATION = ROOT / "docs" / "configuration.md"
PAGES = [README, *sorted((ROOT / "docs").glob("*.md"))]
EXAMPLES = sorted((ROOT / "examples").glob("*.toml"))

# Which table of the file each class is, by the heading it has in the page.
Table = type[attrs.AttrsInstance]

TABLES: dict[str, Table | tuple[Table, ...]] = {
    "Top level": Settings,
    "`[database]`": DatabaseSettings,
    "`[budgets.NAME]`": BudgetSettings,
    "`[sources.NAME]`": SourceSettings,
    "`[sources.NAME.auth]`": get_args(AuthSettings),
    "`[sources.NAME.tls]`": TlsSettings,
    "`[sources.NAME.streams.NAME]`": StreamSettings,
    "`[sources.NAME.streams.NAME.page]`": get_args(PageSettings),
    "`[sources.NAME.streams.NAME.incremental]`": IncrementalSettings,
    "`[sources.NAME.streams.NAME.deleted]`": DeletedSettings,
    "`[sources.NAME.streams.NAME.search]`": SearchSettings,
    "`[sources.NAME.streams.NAME.call]`": CallSettings,
    "`[sources.NAME.streams.NAME.call.verify]`": VerifySettings,
    "`[[sources.NAME.errors]]`": ErrorRule,
    "`[[notify]]`": NotifySettings,
    "`[admin]`": AdminSettings,
}
NOT_SET_BY_KEY = {
    Settings: {"path"},  # the file itself
    BudgetSettings: {"name", "seed"},  # the name of the table, and what follows from it
    SourceSettings: {"name"},
    NotifySettings: {"key"},  # follows from the name or the address
    StreamSettings: {"name", "paths"},
    SearchSettings: {"place"},  # as below
    DeletedSettings: {"wanted"},
    ErrorRule: {"hold"},
    VerifySettings: {"wanted"},  # a word of Python's own in the file
}
BESIDES = {
    Settings: {"budgets"},
    SourceSettings: {"like"},
    SearchSettings: {"in"},
    DeletedSettings: {"is"},
    VerifySettings: {"is"},
    ErrorRule: {"for"},
}  # used up while reading

COMPLETE = re.compile(r"^```toml\n(# syncd\.toml\n.*?)^```$", re.DOTALL | re.MULTILINE)


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def blocks() -> list[tuple[str, str]]:
    """Each complete config in the pages, with where it begins."""
    found = []
    for page in PAGES:
        text = page.read_text("utf-8")
        for match in re.finditer(
            r"^```toml\n(# syncd\.toml\n.*?)^```$", text, re.DOTALL | re.MULTILINE
        ):
            line = text.count("\n", 0, match.start(1)) + 1
            found.append((f"{name(page)}:{line}", match[1]))
    return found


def section(heading: str) -> str:
    """The text under one heading, up to the next of its rank."""
    _, _, rest = CONFIGURATION.read_text("utf-8").partition(f"\n## {heading}\n")
    return rest.partition("\n## ")[0]


def anchors(page: Path) -> set[str]:
    """What `#…` may name in a page: its headings, as code hosts make links of them."""
    text = re.sub(r"^```.*?^```$", "", page.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE)
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings}


def links() -> list[tuple[Path, str]]:
    pattern = re.compile(r"\[(?:[^\[\]]|\[[^\[\]]*\])*\]\(([^)\s]+)\)")
    return [(p, link) for p in PAGES for link in pattern.findall(p.read_text("utf-8"))]


@pytest.mark.parametrize("heading", TABLES)
def test_each_key_of_a_table_stands_in_its_section_and_no_other(heading: str) -> None:
    """A key that a table of the config may hold is explained where that table is."""
    found = TABLES[heading]
    fields: set[str] = set()
    for of in found if isinstance(found, tuple) else (found,):
        fields |= {f.name for f in attrs.fields(of)} - NOT_SET_BY_KEY.get(of, set())
        fields |= BESIDES.get(of, set())
    rows = set(re.findall(r"^\| `(\w+)` \|", section(heading), re.MULTILINE))
    assert rows == fields


@pytest.mark.parametrize("heading", TABLES)
def test_each_key_that_may_be_a_secret_is_named_among_them(heading: str) -> None:
    """no-secret-out: who looks for what may be kept out of the file finds all of it."""
    _, _, rest = section("Secrets").partition("A secret may be given for\n")
    named = set(re.findall(r"`(\w+)`", rest.partition("It is never shown")[0]))
    found = TABLES[heading]
    for of in found if isinstance(found, tuple) else (found,):
        hints = get_type_hints(of)
        own = {f.name for f in attrs.fields(of) if "Secret" in str(hints[f.name])}
        assert own <= named


@pytest.mark.parametrize(("where", "text"), blocks(), ids=[b[0] for b in blocks()])
def test_a_complete_config_in_a_page_loads(where: str, text: str, tmp_path: Path) -> None:
    """What is copied from a page into a file is a config without a fault."""
    path = tmp_path / "syncd.toml"
    path.write_text(text, "utf-8")
    assert load(path, environ={}, secrets=False).sources, where


def test_the_pages_hold_complete_configs() -> None:
    """The README shows a first config, and the page on configuration several."""
    wheres = [where.partition(":")[0] for where, _ in blocks()]
    assert wheres.count("README.md") >= 1
    assert wheres.count("docs/configuration.md") >= 4


@pytest.mark.parametrize("path", EXAMPLES, ids=name)
def test_an_example_loads(path: Path) -> None:
    """Each file in examples/ is a config without a fault."""
    assert load(path, environ={}, secrets=False).sources


def test_the_faults_in_the_page_are_what_syncd_says(tmp_path: Path) -> None:
    """The bad file that the page shows has the faults that the page shows, word for word."""
    text = section("When something is wrong")
    bad = re.search(r"^```toml\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    assert bad is not None
    path = tmp_path / "syncd.toml"
    path.write_text(bad[1], "utf-8")
    with pytest.raises(ConfigError) as caught:
        load(path, environ={}, secrets=False)
    shown = [line.strip() for line in re.findall(r"^    (syncd: sources.+)$", text, re.MULTILINE)]
    assert shown == [f"syncd: {fault}" for fault in caught.value.faults]


def test_a_link_to_a_file_or_heading_leads_there() -> None:
    """No link in the pages points to a file or a heading that is not there."""
    local = [(p, link) for p, link in links() if not re.match(r"[a-z]+:", link)]
    assert len(local) > 10
    dead = []
    for page, link in local:
        file, _, anchor = link.partition("#")
        target = (page.parent / file) if file else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            dead.append(f"{name(page)}: {link}")
    assert not dead


def test_the_readme_names_each_command_and_no_other() -> None:
    """The README's table of commands is the list of commands that there are."""
    named = re.findall(r"^\| `syncd ([a-z-]+)", README.read_text("utf-8"), re.MULTILINE)
    assert sorted(named) == sorted(cli.commands)
