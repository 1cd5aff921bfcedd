from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest

from oddaemon.domain.failure import FailureCode
from oddaemon.domain.types import ReplicaId
from oddaemon.engines.ytdlp.progress import Progress, shown_title
from oddaemon.ports.engine import FillState


def progress(*events: dict[str, Any], selection: frozenset[int] | None = None, languages: str = "") -> Progress:
    found = Progress(ReplicaId(uuid4()), selection, tuple(languages.split(",")))
    for event in events:
        found.apply(event)
    return found


PLAN = {"event": "plan", "index": 1, "title": "T", "extension": "mp4", "formats": [["v", 900], ["a", 100]]}


def moved(form: str, done: int, **more: Any) -> dict[str, Any]:
    return {"event": "progress", "index": 1, "format": form, "done": done, "total": None, "rate": 50, **more}


def test_formats_add_up_to_one_progress() -> None:
    found = progress(PLAN)
    seen = []
    for event in (moved("v", 450), moved("v", 900, total=900), moved("a", 50), moved("a", 100)):
        found.apply(event)
        status = found.status()
        seen.append((status.done, status.total))
    assert seen == [(450, 1000), (900, 1000), (950, 1000), (1000, 1000)]
    status = progress(PLAN, moved("v", 450)).status()
    assert (status.eta, status.rate_down, status.engine_state, status.name) == (11.0, 50, "downloading", "T.mp4")


def test_an_unknown_part_leaves_the_total_unknown() -> None:
    plan = PLAN | {"formats": [["v", 900], ["a", None]]}
    assert progress(plan, moved("v", 10)).status().total is None
    assert progress(plan, moved("v", 10), moved("a", 1, total=5)).status().total == 905


def test_it_ends_with_what_is_on_disk() -> None:
    written = {"event": "entry", "index": 1, "title": "T", "files": [{"name": "e00001.mp4", "size": 990}]}
    found = progress(PLAN, moved("v", 900), {"event": "post", "index": 1})
    assert found.status().engine_state == "postprocessing"
    for event in (written, {"event": "complete"}, moved("v", 5)):
        found.apply(event)
    status = found.status()
    assert (status.state, status.done, status.total, status.engine_state) == (FillState.COMPLETE, 990, 990, None)
    (file,) = found.files()
    assert (file.index, file.path, file.disk_path, file.size, file.finished) == (1, "T.mp4", "e00001.mp4", 990, True)


def test_subtitles_have_numbers_of_their_own() -> None:
    listing = {"event": "list", "title": "L", "entries": [[1, "a"], [2, "b"]]}

    def entry(index: int, *languages: str) -> dict[str, Any]:
        files = [{"name": f"e{index:05d}.mp4", "size": 5}]
        files += [{"name": f"e{index:05d}.{one}.vtt", "size": 1, "lang": one} for one in languages]
        return {"event": "entry", "index": index, "title": "x", "files": files}

    found = progress(listing, entry(2, "de"), entry(1, "en", "de"), languages="en,de")
    assert [(file.index, file.path) for file in found.files()] == [
        (1, "001 - x.mp4"), (2, "002 - x.mp4"), (3, "001 - x.en.vtt"), (5, "001 - x.de.vtt"), (6, "002 - x.de.vtt"),
    ]  # fmt: skip


def test_nothing_had_is_a_failure() -> None:
    listing = {"event": "list", "title": "L", "entries": [[1, "a"]]}
    gone = {"event": "entry", "index": 1, "failed": "ERROR: HTTP Error 404: Not Found"}
    failure = progress(listing, gone, {"event": "complete"}).failure
    assert failure is not None
    assert failure.code is FailureCode.NO_FILES
    assert "404" in failure.message
    failure = progress(listing, {"event": "complete"}, selection=frozenset({7})).failure
    assert failure is not None
    assert failure.code is FailureCode.BAD_SELECTION


@pytest.mark.parametrize(
    "event",
    [
        {}, {"event": 5}, {"event": "list"}, {"event": "list", "entries": [1, [2], ["x", "y"], [-1, "z"]]},
        {"event": "plan", "index": "1"}, {"event": "plan", "index": 1, "formats": [3, ["a", "b"]], "extension": "../x"},
        {"event": "entry", "index": 1, "files": [{"name": "../../etc/passwd", "size": 1}, {"name": "e00001.mp4"}, 7]},
        {"event": "entry", "index": 1, "files": [{"name": "/etc/passwd", "size": 1}], "title": ["x"]},
        {"event": "progress", "index": True, "done": 1}, {"event": "failed", "problem": []},
        {"event": "progress", "index": 1, "done": -5, "total": 1e400, "rate": "x"},
    ],
)  # fmt: skip
def test_odd_events_break_nothing(event: dict[str, Any]) -> None:
    found = progress(event)
    status = found.status()
    assert status.state in {FillState.ACTIVE, FillState.FAILED}
    for file in found.files():
        assert not file.finished
        assert ".." not in file.disk_path
        assert not file.disk_path.startswith("/")


@pytest.mark.parametrize(
    ("title", "shown"),
    [
        ("Plain", "Plain"), ("a/b\\c", "a_b_c"), ("..", "video"), ("", "video"), (".hidden", "hidden"),
        ("a\0b\nc", "ab c"),
        ("x\u202egpj", "xgpj"), ("é" * 300, "é" * 100), ("\ud800", "\ufffd"),
    ],
)  # fmt: skip
def test_titles(title: str, shown: str) -> None:
    assert shown_title(title) == shown
