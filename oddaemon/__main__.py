"""`python -m oddaemon`."""

import sys

from oddaemon.app.cli import main

if __name__ == "__main__":
    sys.exit(main())
