"""Runs every bench in turn, each in a process of its own; `make bench`. A name as argument runs only that one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent


def main() -> int:
    names = sorted(path.stem for path in HERE.glob("bench_*.py"))
    chosen = [name for name in names if not sys.argv[1:] or name.removeprefix("bench_") in sys.argv[1:]]
    failed = []
    for name in chosen:
        print(f"== {name}", flush=True)
        if subprocess.run([sys.executable, "-m", f"tests.perf.{name}"], cwd=HERE.parents[1], check=False).returncode:
            failed.append(name)
    if failed:
        print(f"did not end well: {', '.join(failed)}", file=sys.stderr)
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
