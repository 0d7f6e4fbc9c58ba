"""Address of a DICOMweb server, the query and the login, checked before a socket is opened."""

import os
import re
from collections.abc import Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import NamedTuple
from urllib.parse import SplitResult, parse_qsl, urlsplit

from polyclinic.system.secret import refuse_shared

LOGIN = "POLYCLINIC_DICOMWEB_LOGIN"
"""Environment variable with ``user:password`` or a bearer token."""

_PORTS = {"http": 80, "https": 443}
_KEY = re.compile(r"[A-Za-z][A-Za-z0-9]{1,63}|[0-9A-Fa-f]{8}")
_RESERVED = frozenset({"limit", "offset", "includefield", "fuzzymatching"})


class Origin(NamedTuple):
    """Scheme, host and port, which no request leaves."""

    scheme: str
    host: str
    port: int


def read_address(text: str, *, insecure: bool) -> str:
    """Return the address of a server without a slash at its end.

    Args:
        text: address that the user gave.
        insecure: whether patients' data may travel unencrypted to another machine.

    Raises:
        ValueError: the address is not one of http or https, has a login, a query or a fragment, or is not encrypted.
    """
    try:
        parts = urlsplit(text.strip())
        origin_of(text.strip())
    except ValueError:
        parts = SplitResult("", "", "", "", "")
    if parts.scheme not in _PORTS or not parts.hostname:
        raise ValueError(
            "got an address that is not one of a server, expected such as https://pacs.example/dicom-web; "
            "set `--dicomweb`"
        )
    if parts.username is not None or parts.password is not None:
        raise ValueError(
            f"got an address with a login, which is shown in lists of processes; set {LOGIN} or `--login` instead"
        )
    if parts.query or parts.fragment:
        raise ValueError("got an address with a query; remove what follows its path, and set `--query`")
    if parts.scheme == "http" and not insecure and not _is_loopback(parts.hostname):
        raise ValueError(
            "got an http address, which sends patients' data and the login unencrypted, expected https; set "
            "`--insecure` if the network is trusted"
        )
    return text.strip().rstrip("/")


def origin_of(address: str) -> Origin:
    """Return the origin of an address.

    Raises:
        ValueError: its port is not a number.
    """
    parts = urlsplit(address)
    return Origin(parts.scheme, parts.hostname or "", parts.port or _PORTS.get(parts.scheme, 0))


def read_query(text: str) -> dict[str, str]:
    """Return the filters of a query such as ``StudyDate=20200101-20201231&ModalitiesInStudy=DX``.

    Raises:
        ValueError: it is not a list of attributes with values.
    """
    pairs = parse_qsl(text, keep_blank_values=True)
    filters = dict(pairs)
    is_known = all(_KEY.fullmatch(key) and key.lower() not in _RESERVED and value for key, value in pairs)
    if (text and not pairs) or len(filters) != len(pairs) or not is_known:
        raise ValueError(
            "got a query that is not a list of attributes, expected such as "
            "'StudyDate=20200101-20201231&ModalitiesInStudy=DX'; set `--query`"
        )
    return filters


def read_login(file: Path | None, environment: Mapping[str, str] = os.environ) -> str:
    """Return ``user:password`` or a bearer token from a file, else from the environment; empty where there is none.

    Raises:
        ValueError: the file cannot be read, others may read it, or it is not one line of visible characters.
    """
    if file is None:
        login = environment.get(LOGIN, "").strip()
    else:
        refuse_shared(file, "login")
        try:
            login = file.read_text(encoding="utf-8").strip()
        except (OSError, ValueError) as error:
            raise ValueError(f"the login cannot be read ({type(error).__name__}); set `--login` to a file") from None
    if (file is not None and not login) or not login.isprintable():
        raise ValueError("got a login of no or several lines, expected user:password or a token; set `--login`")
    return login


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False
