"""Start a Jupyter kernel with a connection file: ``notebook_kernel.py FILE``."""

import sys

from ipykernel.kernelapp import launch_new_instance

if __name__ == "__main__":
    launch_new_instance(argv=["-f", sys.argv[1]])
