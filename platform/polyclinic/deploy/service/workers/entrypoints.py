"""Entry points of the workers, imported by name so that the front process does not import torch or a plugin."""

from importlib import import_module
from multiprocessing.connection import Connection


def decode(connection: Connection, *values: object) -> None:
    """Run ``decoder_worker.main``."""
    import_module("polyclinic.deploy.service.workers.decoder_worker").main(connection, *values)


def compute(connection: Connection, *values: object) -> None:
    """Run ``model_worker.main``."""
    import_module("polyclinic.deploy.service.workers.model_worker").main(connection, *values)
