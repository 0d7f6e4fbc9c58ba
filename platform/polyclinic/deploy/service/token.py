"""The token that clients must show."""

import os
import secrets
from collections.abc import Mapping
from ipaddress import ip_address
from pathlib import Path

from polyclinic.system.secret import refuse_shared

TOKEN = "POLYCLINIC_TOKEN"
_SHORTEST_TOKEN = 16


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a host."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def chosen_token(file: Path | None, *, no_token: bool, host: str, environment: Mapping[str, str] = os.environ) -> str:
    """The token that clients must show; empty where none is asked for.

    Args:
        file: that holds it; else the environment's ``POLYCLINIC_TOKEN``, else one is made.
        no_token: whether to ask for none.
        host: that the service listens at.
        environment: of this process.

    Raises:
        ValueError: none is asked for though other machines reach the service, it is too short to be one, or others
            than its owner may read the file.
    """
    if no_token:
        if not is_loopback(host):
            raise ValueError(
                f"got `--no_token` with host {host}, which other machines can reach, expected a token; leave "
                "`--no_token` out, or set `--host` to 127.0.0.1"
            )
        return ""
    if file is None and not environment.get(TOKEN):
        return secrets.token_urlsafe(32)
    if file is not None:
        refuse_shared(file, "token")
    try:
        token = file.read_text(encoding="ascii").strip() if file is not None else environment[TOKEN].strip()
    except (OSError, ValueError) as error:
        raise ValueError(f"the token cannot be read ({type(error).__name__}); set `--token_file` to a file") from None
    if len(token) < _SHORTEST_TOKEN or not token.isascii() or not token.isprintable() or " " in token:
        raise ValueError(
            f"got a token of {len(token)} characters, expected {_SHORTEST_TOKEN} or more visible ones of ASCII; make "
            "one with `openssl rand -hex 32`"
        )
    return token
