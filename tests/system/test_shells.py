"""Completion in the shells themselves: typed at a terminal, with a live daemon.

Those of zsh and fish that are not installed are left out here; `make test-browser` wants all three.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from odctl.cli.commands.completion import SCRIPTS
from tests.support.daemons import Daemon
from tests.support.forked import ROOT
from tests.support.origin_server import Origin
from tests.support.terminal import Terminal
from tests.support.wait import until

SHELLS = [name for name in SCRIPTS if name == "bash" or os.environ.get("SHELLS") == "all" or shutil.which(name)]
START = {
    "bash": ("bash", "--noprofile", "--norc", "-i"), "zsh": ("zsh", "-f", "-i"), "fish": ("fish", "--no-config", "-i"),
}  # fmt: skip
INIT = {
    "bash": "PS1='$ '; eval \"$(odctl completion bash)\"; echo rea''dy",
    "zsh": "PS1='$ '; autoload -U compinit; compinit -u -D; eval \"$(odctl completion zsh)\"; echo rea''dy",
    "fish": "function fish_prompt; echo '$ '; end; odctl completion fish | source; echo rea''dy",
}
CTRL_L, CTRL_U = "\x0c", "\x15"
NAMES = ("Big Buck's [Bunny]", "ubuntu; touch $(x)")
ASKED = ("show", "settings get", "nodes show", "engines test", "link 1", "cache show")
"""What the daemon has to be asked for is known from here on, however slow the machine."""

COMPLETED = {
    "odctl sho": "odctl show", "odctl nodes sh": "odctl nodes show", "odctl show @l": "odctl show @last",
    "odctl show ubu": "odctl show 2", "odctl show Big": "odctl show 1", "odctl nodes show h": "odctl nodes show here",
    "odctl settings get limits.link_expiry_": "odctl settings get limits.link_expiry_max",
    "odctl settings set limits.link_expiry_": "odctl settings set limits.link_expiry_max=",
    "odctl ls --output=cs": "odctl ls --output=csv", "odctl add -e aria": "odctl add -e aria2",
    "odctl engines test yt": "odctl engines test ytdlp", "odctl -c ho": "odctl -c home",
    "odctl context use ho": "odctl context use home", "odctl link 1 big": "odctl link 1 big.bin",
    "odctl add my\\ f": "odctl add my\\ file.torrent", "odctl rm -f hol": "odctl rm -f hold=",
    "odctl ls fail": "odctl ls failed", "odctl pause --filter=stal": "odctl pause --filter=stalled",
    "odctl add my": "odctl add my\\ file.torrent", 'odctl add "my': 'odctl add "my file.torrent"',
    "odctl cache show aria2:": "odctl cache show aria2:url:", "true; odctl --no-col": "true; odctl --no-color",
}  # fmt: skip


@pytest.fixture
async def daemon(tmp_path: Path) -> AsyncIterator[Daemon]:
    async with Daemon(tmp_path / "od") as running, Origin() as origin:
        origin.page("/big.bin", b"x" * 1000)
        for at, name in enumerate(NAMES):
            await running.add(f"{origin.url('/big.bin')}?{at}", "--name", name)
        await running.until_state(2, "completed")
        (running.folder / "my file.torrent").touch()
        nowhere = {"ODCTL_HOST": ""}
        (await running.odctl("context", "add", "home", f"unix://{running.socket}", env=nowhere)).ok()
        programs = tmp_path / "bin"
        programs.mkdir()
        (programs / "odctl").write_text(f'#!/bin/sh\nPYTHONPATH={ROOT} exec "{sys.executable}" -m odctl "$@"\n')
        (programs / "odctl").chmod(0o755)
        yield running


@pytest.mark.parametrize("shell", SHELLS)
async def test_words_are_completed_where_people_type_them(daemon: Daemon, tmp_path: Path, shell: str) -> None:
    assert shutil.which(shell), f"{shell} is not installed"
    for line in ASKED:
        async def known(line: str = line) -> bool:
            return bool((await daemon.odctl("__complete", *line.split(), "")).out)

        await until(known, what=f"what {line!r} is completed with")
    environment = {**daemon.environment, "TERM": "xterm", "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"}
    async with Terminal(100, 30) as terminal:
        await terminal.run(program=START[shell], environment=environment, cwd=daemon.folder)
        terminal.type(INIT[shell], "enter")
        await terminal.shows("\nready\n")
        for typed, wanted in COMPLETED.items():
            # an empty line on an empty screen, by keys alone: an interrupt is lost on a shell that is completing
            terminal.type(CTRL_U, CTRL_L, typed)
            await terminal.shows(f"$ {typed}")
            terminal.type("tab")
            await terminal.shows(f"$ {wanted}")
        terminal.type(CTRL_U, "exit", "enter")


@pytest.mark.parametrize("shell", SHELLS)
def test_the_script_is_one_that_the_shell_understands(shell: str, tmp_path: Path) -> None:
    import subprocess

    script = tmp_path / "script"
    script.write_text(SCRIPTS[shell])
    done = subprocess.run([shell, "-n", str(script)], capture_output=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize("shell", list(SCRIPTS))
def test_every_script_asks_quietly_for_the_words_behind_the_first(shell: str) -> None:
    """What can be said of a script without its shell."""
    script = SCRIPTS[shell]
    assert script.count("odctl __complete ") == 1
    assert "2>/dev/null" in script
    assert ":files" in script
