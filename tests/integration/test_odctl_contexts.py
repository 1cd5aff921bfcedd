"""`odctl context`, `-c` and the variables, as a person types them."""

from __future__ import annotations

from odctl.client import contexts
from tests.support.fake_control import FakeControl
from tests.support.odctl_shell import Shell


async def test_a_context_from_its_adding_to_its_end(odctl: Shell, control: FakeControl) -> None:
    address = f"unix://{odctl.folder / 'c.sock'}"
    assert (await odctl("context", "add", "box", address, "--use", host=False)).code == 0
    tested = await odctl("context", "test", "--json", host=False)
    assert (tested.code, tested.json[0]["name"], tested.json[0]["reachable"]) == (0, "box", True)
    listed = (await odctl("context", "ls", "--json", host=False)).json
    assert [(item["name"], item["current"], item["source"]) for item in listed] == [
        ("box", True, "file"), ("auto", False, None),
    ]  # fmt: skip
    assert (await odctl("ls", "-c", "box", "-q", host=False)).code == 0
    assert (await odctl("context", "rename", "box", "nas", host=False)).code == 0
    assert (await odctl("whoami", "--json", host=False)).json["context"] == "nas"
    assert (await odctl("context", "rm", "nas", host=False)).code == 0
    assert (await odctl("context", "show", "-q", host=False)).out == "auto\n"


async def test_what_a_context_cannot_be(odctl: Shell) -> None:
    for line, code, words in (
        (("add", "nas", "ssh://nas"), 2, "only through a Unix socket"),
        (("add", "nas", "cmd:ssh nas"), 2, "not through a command"),
        (("add", "auto", "unix:///a"), 2, "take another name"),
        (("use", "nas"), 3, "there is no context 'nas'"),
        (("rm", "nas"), 3, "there is no context 'nas'"),
        (("rename", "nas", "box"), 3, "there is no context 'nas'"),
        (("show", "nas"), 3, "there is no context 'nas'"),
        (("test", "nas"), 3, "there is no context 'nas'"),
    ):
        answer = await odctl("context", *line, host=False)
        assert (answer.code, answer.out) == (code, "")
        assert words in answer.err
        assert len(answer.err.splitlines()) <= 3


async def test_a_name_is_taken_once_and_variables_are_not_overruled_unseen(odctl: Shell) -> None:
    assert (await odctl("context", "add", "nas", "unix:///a.sock", host=False)).code == 0
    again = await odctl("context", "add", "nas", "unix:///b.sock", host=False)
    assert (again.code, "--force" in again.err) == (9, True)
    used = await odctl("context", "use", "nas", host=False, ODCTL_CONTEXT="nas")
    assert (used.code, "unset ODCTL_CONTEXT" in used.err) == (9, True)
    used = await odctl("context", "use", "nas", host=False, ODCTL_HOST="unix:///a.sock")
    assert (used.code, "unset ODCTL_HOST" in used.err) == (9, True)
    absent = await odctl("ls", host=False, ODCTL_CONTEXT="nas")
    assert (absent.code, "(from ODCTL_CONTEXT)" in absent.err) == (5, True)


async def test_a_context_has_a_colour_of_its_own(odctl: Shell) -> None:
    wrong = await odctl("context", "add", "nas", "unix:///a.sock", "--badge", "mauve", host=False)
    assert (wrong.code, "none of red, green" in wrong.err) == (2, True)
    assert (await odctl("context", "add", "nas", "unix:///a.sock", "--badge", "red", host=False)).code == 0
    known = contexts.load({"HOME": str(odctl.home)})
    assert known.color("nas") == "red"
    assert contexts.Contexts(known={"nas": {"endpoint": "unix:///a", "color": "\x1b[31m"}}).color("nas") == ""
