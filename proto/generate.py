"""Generates proto/odproto/gen from the .proto files. `--check` fails if what is committed differs.

Compared by syntax tree: the text depends on the version of the formatter that the plug-in calls.
"""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent
OUTPUT = ROOT / "odproto" / "gen"
DEFERRED = "from dataclasses import dataclass\n", "from odproto.deferred import dataclass\n"
"""See odproto.deferred."""


def generate(into: Path) -> None:
    sources = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "opendebrid").rglob("*.proto"))
    plugin = Path(sys.executable).with_name("protoc-gen-python_betterproto2")
    subprocess.run(
        [
            sys.executable, "-m", "grpc_tools.protoc", f"-I{ROOT}",
            f"--plugin=protoc-gen-python_betterproto2={plugin}",
            f"--python_betterproto2_out={into}",
            # without these two the stubs are grpcio's
            "--python_betterproto2_opt=client_generation=async",
            "--python_betterproto2_opt=server_generation=async",
            *sources,
        ],
        check=True,
        cwd=ROOT,
        # the plug-in calls the formatter that is installed beside it
        env={**os.environ, "PATH": f"{plugin.parent}{os.pathsep}{os.environ.get('PATH', '')}"},
    )  # fmt: skip
    for path in into.rglob("*.py"):
        path.write_text(path.read_text().replace(*DEFERRED))


def trees(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): ast.dump(ast.parse(path.read_text()))
        for path in sorted(folder.rglob("*.py"))
    }


def main() -> int:
    with tempfile.TemporaryDirectory() as scratch:
        fresh = Path(scratch) / "gen"
        fresh.mkdir()
        generate(fresh)
        if "--check" in sys.argv[1:]:
            if trees(fresh) != trees(OUTPUT):
                print("proto/odproto/gen differs from the .proto files: run `make proto`", file=sys.stderr)
                return 1
            return 0
        shutil.rmtree(OUTPUT, ignore_errors=True)
        shutil.copytree(fresh, OUTPUT)
    return 0


if __name__ == "__main__":
    sys.exit(main())
