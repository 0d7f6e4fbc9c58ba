"""Errors of the service as HTTP responses."""

import asyncio
from collections.abc import Mapping

from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send

WHOLE = "polyclinic.whole"
"""Key in the scope of a request: whether its body was read to the end."""

_DRAIN_SECONDS, _DRAIN_BYTES = 2.0, 256 << 20


class ServiceError(Exception):
    """An HTTP status with a sentence that names neither a file nor a patient."""

    def __init__(self, status: int, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status, self.message, self.headers = status, message, dict(headers or {})

    def response(self) -> "ErrorResponse":
        """Return the error as JSON: ``{"error": {"message": ...}}``."""
        content = {"error": {"message": self.message}}
        return ErrorResponse(content, status_code=self.status, headers=self.headers)


class ErrorResponse(JSONResponse):
    """An error that is sent at once, before the rest of the request is read and discarded.

    If the connection were closed while a client still sends, it would be reset, and most clients would not see the
    error.
    """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the error, and close the connection if the request was not read to its end."""
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
