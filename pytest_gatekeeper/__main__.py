"""`python -m pytest_gatekeeper`: see `cli`."""

from __future__ import annotations

import sys

from pytest_gatekeeper.cli import main

if __name__ == "__main__":
    sys.exit(main())
