"""``python -P -m polyclinic``: the command where its script is not on the path."""

import sys

from polyclinic.system.isolation import isolate

if __name__ == "__main__":
    isolate()
    from polyclinic.cli import main  # behind ``isolate``, as it imports more

    sys.exit(main())
