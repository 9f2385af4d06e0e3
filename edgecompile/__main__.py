"""`python -m edgecompile`."""

import sys

from edgecompile.cli import main

if __name__ == "__main__":
    sys.exit(main())
