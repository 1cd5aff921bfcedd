"""What the documentation names exists, and what exists is named."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from oddaemon.api.rest.app import ROUTES
from oddaemon.app.load_settings import load
from oddaemon.app.setting_keys import core_keys
from oddaemon.domain.events import EVENT_TYPES
from oddaemon.domain.failure import FailureCode, ReasonCode
from oddaemon.domain.filter_fields import CACHE, EVENTS, JOBS
from oddaemon.domain.filter_text import MAX_ALTERNATIVES, MAX_DEPTH, MAX_PATTERNS, MAX_TERMS, MAX_TEXTS, parse_filter
from oddaemon.domain.filter_tree import terms
from oddaemon.domain.patterns import MAX_PATTERN
from oddaemon.domain.words import MAX_LENGTH

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
REFERENCE = ROOT / "docs" / "reference"
LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for target in LINK.findall(page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), target


def test_every_field_and_every_word_of_a_filter_is_explained() -> None:
    text = (REFERENCE / "filters.md").read_text()
    words = set(re.findall(r"[a-z_]+", text[text.index("Fields of jobs") : text.index("Sorting:")]))
    for vocabulary in (JOBS, CACHE, EVENTS):
        assert set(vocabulary.fields) | set(vocabulary.shortcuts) <= words
    for word, meaning in JOBS.shortcuts.items():
        assert re.search(rf"^  {word} +{re.escape(meaning)}(:|$)", text, re.MULTILINE), word
    for bound in (MAX_LENGTH, MAX_TERMS, MAX_ALTERNATIVES, MAX_DEPTH, MAX_PATTERNS, MAX_PATTERN, MAX_TEXTS):
        assert f"{bound:,} " in text[text.index("Bounds:") :], bound


def test_every_example_of_a_filter_can_be_read() -> None:
    text = (REFERENCE / "filters.md").read_text()
    examples = re.findall(r"^  odctl (?:ls|rm -f) '([^']+)'", text, re.MULTILINE)
    assert len(examples) >= 3
    for example in examples:
        assert list(terms(parse_filter(example)))


def test_every_setting_has_a_line_with_its_meaning() -> None:
    text = (REFERENCE / "settings.md").read_text()
    for key in load(environ={"OD_ENGINES_SIMULATED_ENABLED": "true"}).keys.values():
        (line,) = [line for line in text.splitlines() if line.startswith(f"| `{key.path}` ")]
        assert f"`{key.variable}`" in line
        assert key.description, key.path
        assert key.description.replace("|", "\\|") in line


def test_every_setting_says_what_zero_or_nothing_means() -> None:
    for key in core_keys().values():
        if key.kind in ("text", "size") and key.default in ("", 0) and key.path not in ("controller.grpc_endpoint",):
            said = re.search(r"Empty|empty|\b0:|join token", key.description)
            assert said or key.path.startswith("controller."), key.path


def test_every_event_is_described() -> None:
    text = (REFERENCE / "events.md").read_text()
    for name in EVENT_TYPES:
        (line,) = [line for line in text.splitlines() if line.startswith(f"| `{name}` ")]
        assert line.count("|") == 4
        assert line.split("|")[3].strip(), name


def test_every_failure_and_reason_is_described() -> None:
    text = (REFERENCE / "errors.md").read_text()
    for code in (*FailureCode, *ReasonCode):
        assert f"| `{code.value}` | " in text


def test_every_call_is_described() -> None:
    text = (REFERENCE / "protocol.md").read_text()
    protos = "".join(proto.read_text() for proto in (ROOT / "proto" / "opendebrid").rglob("*.proto"))
    calls = re.findall(r"^  rpc (\w+)\(", protos, re.MULTILINE)
    assert {"Hello", "Dispatch", "Heartbeat"} <= set(calls)
    for name in calls:
        assert re.search(rf"^\|[^|]*`{name}`", text, re.MULTILINE), name


def test_settings_that_the_texts_name_exist() -> None:
    keys = set(load(environ={}).keys)
    sections = {key.partition(".")[0] for key in keys}
    pattern = re.compile(rf"(?<![\w./-])((?:{'|'.join(sections)})\.[a-z_]+(?:\.[a-z_]+)?)(?![\w/(-])")
    own = {"events.py", "events.md", "node.json", "paths.py", "limits.py", "settings.md", "settings.py", "engines.md"}
    # of the dashboard, whose keys are told by these names
    own |= {"nodes.drain", "nodes.token", "nodes.remove", "nodes.svg"}
    for page in PAGES:
        if page.parent == REFERENCE:
            continue
        for name in pattern.findall(page.read_text()):
            if name not in own and not name.startswith(("engines.gopher", "storage.attic", "subscribers.chime")):
                assert name in keys, f"{page.name}: {name}"


def test_routes_that_the_rest_page_names_exist() -> None:
    text = (ROOT / "docs" / "rest.md").read_text().replace("\\\n", " ")
    named = [(_method_of(line), line) for line in re.findall(r"curl [^`\n]*", text)]
    called = [(method, path) for method, line in named for path in re.findall(r"\$API([^\s?\"]+)", line)]
    called += re.findall(r"`(GET|POST|PUT|PATCH|DELETE) (/[^`]+)`", text)
    assert len(called) > 20
    for method, path in called:
        paths = [route.path.removeprefix("/api/v1") for route in ROUTES if route.method == method]
        assert any(re.fullmatch(re.sub(r"{[^}]*}", "[^/]+", known), path) for known in paths), (method, path)


def _method_of(curl: str) -> str:
    if found := re.search(r"-X (\w+)", curl):
        return found[1]
    return "POST" if re.search(r" -[dF] ", curl) and " -G " not in curl else "GET"


def test_make_targets_that_the_texts_name_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for page in PAGES:
        for name in re.findall(r"(?:`|^ {4})make ([a-z-]+)", page.read_text(), re.MULTILINE):
            assert name in targets, f"{page.name}: make {name}"
    assert {"run", "test", "bench", "lint", "types", "proto", "migrate-up", "migrate-down", "dev"} <= targets


def test_decisions_are_numbered_without_gaps() -> None:
    numbers = sorted(int(page.name[:4]) for page in (ROOT / "docs" / "adr").glob("*.md"))
    assert numbers == list(range(len(numbers)))
