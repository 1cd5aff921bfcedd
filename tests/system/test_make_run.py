"""`make run` without the installing: what tools/run.py starts, finds, says, fetches and stops."""

from __future__ import annotations

import http.server
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from oddaemon.app.singleton import running_pid

RUN = Path(__file__).resolve().parents[2] / "tools" / "run.py"
CONTENT = bytes(range(256)) * 4000


class Place:
    """A home of its own: data, socket and downloads."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.socket = folder / "run" / "control.sock"
        self.environ: Mapping[str, str] = {
            "PATH": os.environ["PATH"], "HOME": str(folder), "OD_PATHS_DATA_DIR": str(folder / "data"),
            "OD_PATHS_RUNTIME_DIR": str(folder / "run"), "OD_SERVER_PORT": "0", "OD_NODE_FILE_SERVER_PORT": "0",
            "OD_LIMITS_MIN_DISK_FREE": "1MB", "OD_ENGINES_YTDLP_ENABLED": "false",
        }  # fmt: skip

    def run(self, **more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, RUN], env={**self.environ, **more}, cwd=self.folder, capture_output=True, text=True,
            timeout=55, check=False,
        )  # fmt: skip

    @contextmanager
    def running(self) -> Iterator[subprocess.Popen[str]]:
        """`make run`, ready."""
        child = subprocess.Popen(
            [sys.executable, RUN], env=self.environ, cwd=self.folder, stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip
        try:
            assert child.stdout is not None
            for line in child.stdout:
                if "is running" in line:
                    break
            else:
                raise AssertionError(f"it did not start: {child.wait(timeout=10)}")
            yield child
        finally:
            child.terminate()
            child.communicate(timeout=50)


@pytest.fixture
def place() -> Iterator[Place]:
    with TemporaryDirectory(prefix="od-") as folder:
        yield Place(Path(folder))


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    (tmp_path / "file.bin").write_bytes(CONTENT)
    handler = partial(http.server.SimpleHTTPRequestHandler, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/file.bin"
        server.shutdown()
        thread.join()


def test_a_second_run_finds_the_first_and_a_signal_ends_it(place: Place) -> None:
    with place.running() as first:
        pid = running_pid(place.socket)
        assert pid
        second = place.run()
        assert second.returncode == 0
        assert f"already running (pid {pid})" in second.stdout
        assert f"{Path(sys.executable).parent}/odctl add" in second.stdout
        assert re.search(r"the REST API, as a page: http://127.0.0.1:\d+/api/v1/docs\n", second.stdout)
        assert running_pid(place.socket) == pid
        first.send_signal(signal.SIGTERM)
        assert first.wait(timeout=50) == 0
    assert running_pid(place.socket) is None


def test_with_a_url_the_file_is_fetched_and_the_daemon_stopped(place: Place, url: str) -> None:
    done = place.run(RUN_URL=url)
    assert done.returncode == 0, done.stderr
    assert (place.folder / "downloads" / "file.bin").read_bytes() == CONTENT
    assert running_pid(place.socket) is None


def test_with_a_url_a_daemon_that_runs_is_used_and_left_alone(place: Place, url: str) -> None:
    with place.running():
        pid = running_pid(place.socket)
        done = place.run(RUN_URL=url)
        assert done.returncode == 0, done.stderr
        assert (place.folder / "downloads" / "file.bin").read_bytes() == CONTENT
        assert running_pid(place.socket) == pid


def test_a_url_that_is_none_is_told_and_nothing_stays(place: Place) -> None:
    done = place.run(RUN_URL="not a source")
    assert done.returncode not in (0, 1)
    assert running_pid(place.socket) is None


def test_mistakes_in_the_settings_are_told(place: Place) -> None:
    done = place.run(OD_SERVER_PROT="1")
    assert done.returncode == 78
    assert "OD_SERVER_PROT" in done.stderr
