"""What leaves the server by a key: links and other text to the clipboard, files to this machine or to a player."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from textual.binding import Binding

from odctl import text as words
from odctl.client.errors import OdctlError
from odctl.client.models import Detail, Job, Link, Selection, jsonable
from odctl.dashboard import children, clipboard
from odctl.dashboard.actions import label
from odctl.dashboard.desk import Dashboard

if TYPE_CHECKING:
    from odctl.client.daemon import DaemonClient

BINDINGS = (
    Binding("y", "copy_link", "Copy link", id="jobs.copy-link"),
    Binding("Y", "copy_menu", "Copy…", show=False, id="jobs.copy-menu"),
    Binding("Q", "qr", "QR code", show=False, id="jobs.qr"),
    Binding("w", "get", "Get", id="jobs.get"),
    Binding("o", "play", "Play", id="jobs.play"),
)


def copy(dashboard: Dashboard, text: str, what: str) -> None:
    """To the clipboard by every way there is, and in any case onto the screen, where it can be selected by hand."""
    if len(text) <= clipboard.TERMINAL_LIMIT:
        dashboard.copy_to_clipboard(text)
    argv = clipboard.program()
    if argv:
        dashboard.run_worker(asyncio.to_thread(clipboard.hand_over, text, argv), exit_on_error=False)
    dashboard.say(f"{words.clean(what)} copied:\n{words.clean(text)}")


async def link_of(client: DaemonClient, number: int, file: int | None) -> str:
    """Of one file, of the only one of a job, or of everything as a ZIP. Raises OdctlError."""
    job = str(number)
    if file is None:
        found = (await client.get_jobs(Selection(ids=(job,))))[0]
        if found.job is None or found.failure is not None:
            raise OdctlError(found.failure.message if found.failure else "the job is gone", code="NOT_FOUND")
        if found.job.files_selected > 1:
            links = await client.files.links(job, kind="zip")
            return _first(links, number)
    return _first(await client.files.links(job, () if file is None else (str(file),)), number)


def _first(links: list[Link], number: int) -> str:
    if not links:
        raise OdctlError("no file is ready", code="NOT_READY", hint=f"the tab Files of job {number} says which are")
    return links[0].url


def _read_by_person() -> None:
    """What was written to the terminal would be gone with the next picture of the dashboard."""
    terminal, keys = sys.__stderr__, sys.__stdin__
    if terminal is not None and keys is not None:
        terminal.write("\nenter goes back to the dashboard ")
        terminal.flush()
        keys.readline()


class Taking:
    """Part of the pane that lists jobs."""

    dashboard: Dashboard
    getting: dict[int, str]
    """What is said of the jobs whose files are on their way here."""
    folder: str

    def chosen_file(self) -> int | None:
        """The file under the cursor, where files have the focus."""
        return None

    def show_getting(self) -> None:
        """Draws what `getting` says."""

    def in_sight(self, what: str) -> bool:
        """See JobActions."""
        return True

    def _current(self, what: str) -> int | None:
        if not self.in_sight(what):
            return None
        job = self.dashboard.state.job
        if job is None:
            self.dashboard.say(f"{what}: no job is under the cursor", severity="warning")
            return None
        return job.id

    # Copying

    def action_copy_link(self) -> None:
        number, file = self._current("copy link"), self.chosen_file()
        if number is not None:
            self.dashboard.carry_out(
                "copy link", lambda client: link_of(client, number, file),
                lambda url: copy(self.dashboard, url, "link"),
            )  # fmt: skip

    def action_qr(self) -> None:
        number, file = self._current("QR code"), self.chosen_file()
        if number is None:
            return

        def show(url: str) -> None:
            from odctl.dashboard.dialogs.link import Copied

            self.dashboard.push_screen(Copied(f"Link of job {number}", [url], qr=True))

        self.dashboard.carry_out("QR code", lambda client: link_of(client, number, file), show, opens=True)

    def action_copy_menu(self) -> None:
        number, file = self._current("copy"), self.chosen_file()
        if number is None:
            return

        async def work(client: DaemonClient) -> tuple[Detail, str]:
            detail = (await client.get_jobs(Selection(ids=(str(number),))))[0]
            path = ""
            if file is not None:
                files = await client.files.of(str(number))
                path = next((known.path for known in files if known.index == file), "")
            return detail, path

        def show(answer: tuple[Detail, str]) -> None:
            detail, path = answer
            if detail.job is None:
                self.dashboard.say(f"copy: {detail.failure.message if detail.failure else 'it is gone'}", "error")
            else:
                self._copy_menu(detail.job, path)

        self.dashboard.carry_out("copy", work, show, opens=True)

    def _copy_menu(self, job: Job, path: str) -> None:
        from odctl.dashboard.dialogs.link import Copied, copyable
        from odctl.dashboard.dialogs.menu import Menu

        texts = copyable(job, path, json.dumps(jsonable(job), ensure_ascii=False))
        menu = [(key, f"{said}  {text[:60]}", key) for key, said, text in texts]

        def answered(key: str | None) -> None:
            for known, said, text in texts:
                if known == key:
                    copy(self.dashboard, text, said)
                    if known in "jm":
                        self.dashboard.push_screen(Copied(said, [text]))

        self.dashboard.push_screen(Menu(f"Copy of {label(job)}", menu), answered)

    # Getting

    def action_get(self) -> None:
        number = self._current("get")
        if number is None:
            return
        numbers = self.dashboard.state.chosen
        if self.folder:
            self._get(numbers)
            return
        from odctl.dashboard.dialogs.ask import Ask

        def answered(folder: str | None) -> None:
            if folder:
                self.folder = os.path.abspath(os.path.expanduser(folder))
                self._get(numbers)

        lines = ["Files go below this folder, of every job that is got until the dashboard is left."]
        self.dashboard.push_screen(Ask("Get to this computer", lines, value=os.getcwd()), answered)

    def _get(self, numbers: tuple[int, ...]) -> None:
        endpoint = self.dashboard.state.connection.where
        file = self.chosen_file() if len(numbers) == 1 else None
        for number in numbers:
            if number in self.getting:
                self.dashboard.say(f"{number} is on its way already")
                continue
            self.getting[number] = "…"
            words_ = ["get", str(number), *([str(file)] if file is not None else []), "--into", self.folder]
            argv = children.command(endpoint, [*words_, "--progress", "jsonl"])
            self.dashboard.run_worker(self._fetched(number, argv), name=f"get {number}", exit_on_error=False)
        self.show_getting()

    async def _fetched(self, number: int, argv: list[str]) -> None:
        files: dict[int, Mapping[str, Any]] = {}
        said: list[str] = []

        def line(text: str) -> None:
            told: Any = None
            with suppress(ValueError):
                told = json.loads(text)
            if isinstance(told, dict) and "index" in told:
                files[told["index"]] = told
                done = sum(int(file["done"]) for file in files.values())
                rate = sum(int(file["rate_down"]) for file in files.values())
                self.getting[number] = f"{words.size(done)} {words.rate(rate)}"
                self.show_getting()
            elif text.strip():
                said.append(words.clean(text.strip()))

        try:
            ended = await children.run(argv, line)
        except OSError as error:
            self.dashboard.say(f"get {number}: {error.strerror or error}", severity="error")
        else:
            if ended.code == 0:
                count = len(ended.out.splitlines())
                self.dashboard.say(f"got {count} file{'s' if count != 1 else ''} of {number} in {self.folder}")
            else:
                self.dashboard.say(f"get {number}:\n" + "\n".join(said[-4:]), severity="error")
        finally:
            self.getting.pop(number, None)
            self.show_getting()

    # Playing

    def action_play(self) -> None:
        """Detached where there is a screen for a window, else in this terminal."""
        number = self._current("play")
        if number is None:
            return
        file = self.chosen_file()
        windows = bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
        which = [str(number), *([str(file)] if file is not None else [])]
        arguments = ["play", *which, *(["--detach"] if windows else [])]
        argv = children.command(self.dashboard.state.connection.where, arguments)
        if windows:
            self.dashboard.run_worker(self._played(argv), name="play", exit_on_error=False)
            return
        try:
            with self.dashboard.suspend():
                code = subprocess.run(argv, check=False).returncode
                if code:
                    _read_by_person()
        except Exception as error:  # noqa: BLE001 - a terminal that cannot be given away; Textual's own class
            self.dashboard.say(f"play: this terminal cannot be given to a player ({error})", severity="error")
        else:
            if code:
                self.dashboard.say(f"play ended with exit {code}", "warning")

    async def _played(self, argv: list[str]) -> None:
        ended = await children.run(argv)
        said = "\n".join(words.clean(line) for line in ended.err.splitlines()[:4])
        self.dashboard.say(said or "playing", "information" if ended.code == 0 else "error")
