"""What the processes start with. The front names these functions, so that it does not import what they import."""

from importlib import import_module
from multiprocessing.connection import Connection


def decode(connection: Connection, *values: object) -> None:
    """Run ``decoding.main``."""
    import_module("polyclinic.deploy.service.workers.decoder_worker").main(connection, *values)


def compute(connection: Connection, *values: object) -> None:
    """Run ``computing.main``."""
    import_module("polyclinic.deploy.service.workers.model_worker").main(connection, *values)
