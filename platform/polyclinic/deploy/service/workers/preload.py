"""Preloaded module of the fork server: torch, the plugins, and one bundle.

Importing this module loads the bundle that the environment variable ``BUNDLE`` names, because a fork server shares only
what it imported before it forks. Weights, libraries and tables of the bundle are then in memory once, however many
processes there are: a fork copies a page only when it writes to it, and nothing writes to weights. A new process is
ready in tens of milliseconds.
"""

import gc
import os
from pathlib import Path

import torch

from polyclinic.deploy.bundle import Bundle, load_bundle

BUNDLE = "POLYCLINIC_SERVED_BUNDLE"


def _load(folder: str) -> tuple[Bundle | None, str]:
    # A process with threads cannot be forked safely, and torch starts threads with its first operation.
    torch.set_num_threads(1)
    torch.set_num_interop_threads(1)
    try:
        bundle = load_bundle(Path(folder))
    except ValueError as error:
        return None, str(error)
    except Exception as error:  # reported by the front process, as a sentence
        return None, f"the bundle cannot be loaded ({type(error).__name__})"
    gc.collect()
    gc.freeze()
    return bundle, ""


LOADED, PROBLEM = _load(os.environ[BUNDLE]) if BUNDLE in os.environ else (None, f"{BUNDLE} is not set")


def loaded() -> Bundle:
    """Return the preloaded bundle.

    Raises:
        ValueError: the bundle could not be loaded.
    """
    if LOADED is None:
        raise ValueError(PROBLEM)
    return LOADED
