"""Run ``python -P -m polyclinic``, the same command as the script ``polyclinic``."""

import sys

from polyclinic.system.isolation import isolate

if __name__ == "__main__":
    isolate()
    from polyclinic.cli import main  # after isolate(), which decides where imports come from

    sys.exit(main())
