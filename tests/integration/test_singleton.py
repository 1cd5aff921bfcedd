"""One daemon per socket, with real processes and real sockets."""

from __future__ import annotations

import grp
import multiprocessing
import os
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.synchronize import Barrier, Event
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from oddaemon.app.exit_codes import ExitCode, StartFailed
from oddaemon.app.singleton import AlreadyRunning, SocketRefused, lock_data_dir, open_control_socket, running_pid

HOLDER = """
import sys
from pathlib import Path
from oddaemon.app.singleton import open_control_socket
held = open_control_socket(Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def place() -> Iterator[Path]:
    """Short: pytest's own folders are too long for a socket."""
    with TemporaryDirectory(prefix="od-") as folder:
        yield Path(folder) / "run" / "control.sock"


@contextmanager
def holder(path: Path) -> Iterator[subprocess.Popen[str]]:
    child = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert child.stdout is not None
        assert child.stdout.readline() == "held\n"
        yield child
    finally:
        child.kill()
        child.communicate()


def test_it_listens_and_only_we_may_connect(place: Path) -> None:
    held = open_control_socket(place)
    try:
        assert stat.S_IMODE(place.stat().st_mode) == 0o600
        assert stat.S_IMODE(place.parent.stat().st_mode) == 0o700
        assert running_pid(place) == os.getpid()
    finally:
        held.close()
        held.close()
    assert not place.exists()
    assert running_pid(place) is None


def test_a_second_daemon_is_told_who_has_it(place: Path) -> None:
    with holder(place) as child:
        with pytest.raises(AlreadyRunning) as caught:
            open_control_socket(place)
        assert caught.value.pid == child.pid
        assert caught.value.code is ExitCode.UNAVAILABLE
        assert running_pid(place) == child.pid  # and the first one is unharmed


def test_after_kill_9_the_next_one_starts(place: Path) -> None:
    with holder(place) as child:
        child.send_signal(signal.SIGKILL)
        child.wait()
        assert place.exists()
        held = open_control_socket(place)
        assert running_pid(place) == os.getpid()
        held.close()


def test_a_listener_that_knows_no_lock_is_not_robbed(place: Path) -> None:
    place.parent.mkdir(mode=0o700)
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(place))
        other.listen(1)
        with pytest.raises(AlreadyRunning):
            open_control_socket(place)
        assert place.exists()
    open_control_socket(place).close()


def test_closing_leaves_a_successors_socket_alone(place: Path) -> None:
    held = open_control_socket(place)
    place.unlink()
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(place))
        held.close()
        assert place.exists()


def test_what_is_not_a_socket_is_never_removed(place: Path) -> None:
    place.parent.mkdir(mode=0o700)
    place.write_text("precious")
    with pytest.raises(SocketRefused, match="not a socket"):
        open_control_socket(place)
    assert place.read_text() == "precious"
    link = place.with_name("link.sock")
    link.symlink_to(place)
    with pytest.raises(SocketRefused):
        open_control_socket(link)


def test_a_lock_file_that_is_a_link_is_not_followed(place: Path) -> None:
    place.parent.mkdir(mode=0o700)
    victim = place.with_name("victim")
    victim.write_text("precious")
    place.with_name("control.sock.lock").symlink_to(victim)
    with pytest.raises(OSError, match="symbolic links"):
        open_control_socket(place)
    assert victim.read_text() == "precious"


def test_a_path_that_is_too_long_names_the_limit(tmp_path: Path) -> None:
    with pytest.raises(SocketRefused, match="100 bytes"):
        open_control_socket(tmp_path / ("x" * 100))


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a socket to any group")
def test_a_group_gets_access_and_nobody_else(place: Path) -> None:
    held = open_control_socket(place, group="daemon")
    try:
        found = place.stat()
        assert stat.S_IMODE(found.st_mode) == 0o660
        assert found.st_gid != 0
    finally:
        held.close()


def test_a_group_gets_through_the_folder_that_we_made(place: Path) -> None:
    own = os.getgid()
    held = open_control_socket(place, group=grp.getgrgid(own).gr_name)
    held.close()
    found = place.parent.stat()
    assert (stat.S_IMODE(found.st_mode), found.st_gid) == (0o710, own)


def test_an_unknown_group_is_a_clear_error(place: Path) -> None:
    with pytest.raises(SocketRefused, match="no group"):
        open_control_socket(place, group="no-such-group-anywhere")


def test_the_umask_is_given_back(place: Path) -> None:
    before = os.umask(0o027)
    try:
        open_control_socket(place).close()
        assert os.umask(0o027) == 0o027
    finally:
        os.umask(before)


def _race(path: Path, start: Barrier, over: Event, results: multiprocessing.Queue[str]) -> None:
    start.wait(30)
    try:
        held = open_control_socket(path)
    except AlreadyRunning:
        results.put("refused")
        return
    results.put("held")
    over.wait(30)  # whoever comes late finds it held
    held.close()


def test_of_many_that_start_at_once_exactly_one_runs(place: Path) -> None:
    place.parent.mkdir(mode=0o700)
    stale = socket.socket(socket.AF_UNIX)
    stale.bind(str(place))
    stale.close()
    context = multiprocessing.get_context("spawn")
    results: multiprocessing.Queue[str] = context.Queue()
    start, over = context.Barrier(4), context.Event()
    children = [context.Process(target=_race, args=(place, start, over, results)) for _ in range(4)]
    for child in children:
        child.start()
    outcomes = sorted(results.get(timeout=30) for _ in children)
    over.set()
    for child in children:
        child.join(timeout=30)
    assert outcomes == ["held", "refused", "refused", "refused"]


def test_two_daemons_never_share_a_data_directory(tmp_path: Path) -> None:
    """Whatever their sockets are."""
    with lock_data_dir(tmp_path):
        wanted = rf"\(pid {os.getpid()}\) uses the data directory"
        with pytest.raises(StartFailed, match=wanted) as caught, lock_data_dir(tmp_path):
            pass
        assert caught.value.code is ExitCode.UNAVAILABLE
        assert "paths.data_dir" in caught.value.hint
    with lock_data_dir(tmp_path):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["oddaemon.lock"]
