"""How often a client may ask."""

import ipaddress
import time
from collections import OrderedDict

_MOST_CLIENTS = 4096
_LEAST_BURST = 10


class Throttle:
    """A bucket of tokens per client, filled evenly (Turner 1986, "leaky bucket").

    Args:
        per_minute: requests of one client; 0 for any number.
    """

    def __init__(self, per_minute: int) -> None:
        self._rate, self._burst = per_minute / 60, float(max(_LEAST_BURST, per_minute // 6))
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def wait(self, client: str) -> float:
        """Take one token; gives 0, or the seconds until there is one."""
        if not self._rate:
            return 0.0
        now = time.monotonic()
        left, then = self._buckets.pop(client, (self._burst, now))
        left = min(self._burst, left + (now - then) * self._rate)
        wait = 0.0 if left >= 1 else (1 - left) / self._rate
        self._buckets[client] = (left - 1 if left >= 1 else left, now)
        if len(self._buckets) > _MOST_CLIENTS:
            self._buckets.popitem(last=False)
        return wait


def neighbourhood(address: str) -> str:
    """An IPv4 address, or the network of an IPv6 one, all of which one client may use."""
    try:
        known = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(known, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((known, 64), strict=False))
    return address
