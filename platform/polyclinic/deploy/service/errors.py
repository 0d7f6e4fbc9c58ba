"""What a client is told that does not get what it asked for."""

import asyncio
from collections.abc import Mapping

from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send

WHOLE = "polyclinic.whole"
"""Set in the scope of a request whose body was read to its end."""

_DRAIN_SECONDS, _DRAIN_BYTES = 2.0, 256 << 20


class ServiceError(Exception):
    """A status and a sentence that names no file and no patient."""

    def __init__(self, status: int, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status, self.message, self.headers = status, message, dict(headers or {})

    def response(self) -> "ErrorResponse":
        """As every error of this service looks."""
        content = {"error": {"message": self.message}}
        return ErrorResponse(content, status_code=self.status, headers=self.headers)


class ErrorResponse(JSONResponse):
    """Says it at once, then reads a while on.

    A connection closed while a client still sends is reset, and most clients then never see the answer.
    """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, and close the connection where the request was not read to its end."""
        if scope.get(WHOLE) or scope["method"] in ("GET", "HEAD", "OPTIONS"):
            await super().__call__(scope, receive, send)
            return
        headers = [*self.raw_headers, (b"connection", b"close")]
        await send({"type": "http.response.start", "status": self.status_code, "headers": headers})
        await send({"type": "http.response.body", "body": self.body, "more_body": True})
        await _drain(receive)
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _drain(receive: Receive) -> None:
    left = _DRAIN_BYTES
    try:
        async with asyncio.timeout(_DRAIN_SECONDS):
            while left > 0:
                message = await receive()
                left -= len(message.get("body", b""))
                if message["type"] != "http.request" or not message.get("more_body", False):
                    return
    except TimeoutError:
        return
