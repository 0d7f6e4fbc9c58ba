"""The settings of the service: options of ``polyclinic serve``, checked before anything starts."""

from dataclasses import KW_ONLY, dataclass
from pathlib import Path

from polyclinic.files.kinds import BUNDLE, refuse_other_kind

UNSPECIFIED_HOSTS = ("0.0.0.0", "::")
"""Hosts that stand for every address of this machine."""

_LOOPBACK_NAMES = ("127.0.0.1", "localhost", "::1")
_COUNTS = ("readers", "file_mb", "request_mb", "memory_mb", "in_flight", "together")
_POSITIVE_NUMBERS = ("file_seconds", "upload_seconds", "per_minute")


# Without methods, as ``auto_cli`` would make a subcommand of each.
@dataclass(frozen=True)
class ServiceSettings:
    """Serve a bundle to a browser and to programs: polyclinic serve bundle

    Attributes:
        bundle: folder written by `polyclinic bundle export`.
        host: address to listen on; 127.0.0.1 can be reached from this machine only.
        port: port to listen on; 0 for a free one.
        token_file: file with the token that clients must send; without it, POLYCLINIC_TOKEN is used, or else a new
            token is made and printed.
        no_token: require no token; only if no other machine can reach the host.
        allowed_hosts: further accepted Host headers, such as [scores.example].
        audit: log of requests; created, or continued if its chain is intact.
        readers: number of processes that decode files.
        file_mb: maximum size of a file.
        request_mb: maximum size of a request.
        memory_mb: maximum memory for decoding a file.
        file_seconds: maximum time for decoding a file.
        upload_seconds: maximum time for sending a request.
        per_minute: maximum number of requests per client address; 0 for no limit, as behind a proxy that has its own.
        in_flight: maximum number of studies at a time, each with up to `request_mb` in memory.
        together: maximum number of studies per batch of the model.
    """

    bundle: Path
    _: KW_ONLY
    host: str = "127.0.0.1"
    port: int = 8000
    token_file: Path | None = None
    no_token: bool = False
    allowed_hosts: list[str] | None = None
    audit: Path = Path("audit.jsonl")
    readers: int = 2
    file_mb: int = 64
    request_mb: int = 128
    memory_mb: int = 2048
    file_seconds: float = 20.0
    upload_seconds: float = 60.0
    per_minute: int = 300
    in_flight: int = 16
    together: int = 16


def accepted_hosts(settings: ServiceSettings) -> frozenset[str]:
    """Return the accepted Host headers, in lower case and without a port."""
    host = () if settings.host in UNSPECIFIED_HOSTS else (settings.host,)
    return frozenset(name.lower() for name in (*_LOOPBACK_NAMES, *host, *(settings.allowed_hosts or ())))


def check_settings(settings: ServiceSettings) -> None:
    """Refuse settings that are out of range.

    Raises:
        ValueError: a number is out of range, or the bundle is not a folder.
    """
    for name in _COUNTS:
        if (value := getattr(settings, name)) < 1:
            raise ValueError(f"got {name} {value}, expected 1 or more; set `--{name}`")
    for name in _POSITIVE_NUMBERS:
        value = getattr(settings, name)
        if not 0 <= value < 1e9 or (value == 0 and name != "per_minute"):
            raise ValueError(f"got {name} {value:g}, expected a positive number; set `--{name}`")
    refuse_other_kind(settings.bundle, BUNDLE, "name a folder written by `polyclinic bundle export`")
    if not settings.bundle.is_dir():
        name = settings.bundle.name
        raise ValueError(f"got {name!r}, which is not a folder; set it to one written by `polyclinic bundle export`")
