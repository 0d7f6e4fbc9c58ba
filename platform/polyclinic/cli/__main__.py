"""Run ``python -P -m polyclinic.cli``, the same command as ``python -P -m polyclinic``."""

import sys

from polyclinic.cli.entry import main

if __name__ == "__main__":
    sys.exit(main())
