"""nginx as an origin on the loopback, for benchmarks."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

CONF = """
daemon off; worker_processes 1; pid {folder}/pid; error_log {folder}/error.log;
events {{ worker_connections 1024; }}
http {{
  access_log off; sendfile on; tcp_nopush on; default_type application/octet-stream;
  client_body_temp_path {folder}/t1; proxy_temp_path {folder}/t2; fastcgi_temp_path {folder}/t3;
  uwsgi_temp_path {folder}/t4; scgi_temp_path {folder}/t5;
  server {{ listen 127.0.0.1:{port}; root {folder}/www; }}
}}
"""


@contextlib.contextmanager
def nginx(folder: Path, files: Mapping[str, int]) -> Iterator[str]:
    """Serves files of these sizes; the base URL."""
    www = folder / "www"
    www.mkdir(parents=True)
    for name, size in files.items():
        with (www / name).open("wb") as file:
            block = bytes(range(256)) * 4096
            for start in range(0, size, len(block)):
                file.write(block[: min(len(block), size - start)])
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    (folder / "nginx.conf").write_text(CONF.format(folder=folder, port=port))
    folder.chmod(0o755)
    process = subprocess.Popen(["nginx", "-c", str(folder / "nginx.conf"), "-g", "user root;"])
    try:
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(10)
