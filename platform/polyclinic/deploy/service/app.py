"""The routes."""

import time
from importlib.resources import files
from typing import Annotated, Any

from fastapi import FastAPI, Query, Request, Response, Security
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.security import HTTPBearer
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException

from polyclinic import __version__
from polyclinic.deploy.service import middleware as access
from polyclinic.deploy.service.errors import ServiceError
from polyclinic.deploy.service.middleware import neighbourhood
from polyclinic.deploy.service.schemas import BundleCard, Error, Scores, State
from polyclinic.deploy.service.scoring import ScoringHandler
from polyclinic.deploy.service.uploads import FILES, Upload

_LONGEST_FINDING = 200
_ALWAYS = (400, 401, 403, 429)
_OF_SCORE = (408, 413, 415, 422, 503)
_SAID = {
    400: "A broken request.", 401: "No valid token.", 403: "Sent by a page of another site.", 408: "Sent too slowly.",
    413: "Too large.", 415: "Not multipart.", 422: "Nothing of it can be read, or it is not what is expected.",
    429: "Too many requests.", 503: "Busy, a process was just stopped, or the audit log cannot be written.",
}  # fmt: skip


def build_app(desk: ScoringHandler, *, largest: int, most: int, seconds: float) -> FastAPI:
    """The application, without what stands in front of it.

    Args:
        desk: that scores.
        largest: bytes of a file.
        most: bytes of a request.
        seconds: that a client may take to send one.
    """
    app = FastAPI(
        title="Polyclinic", version=__version__, docs_url=None, redoc_url=None, redirect_slashes=False,
        description=desk.model.card["not_a_device"],
    )  # fmt: skip
    _add_state(app, desk)
    _add_score(app, desk, largest=largest, most=most, seconds=seconds)
    _add_errors(app)
    # Behind all routes: a mounted one would answer other methods of a route before the route does.
    app.router.default = StaticFiles(directory=str(files("polyclinic.deploy") / "page"), html=True, check_dir=False)
    return app


def _add_state(app: FastAPI, desk: ScoringHandler) -> None:
    @app.get(access.ALIVE, responses=_errors(400))
    async def healthz() -> State:
        """Whether the front process answers."""
        return State(status="alive")

    @app.get(access.READY, responses=_errors(400, 503))
    async def readyz() -> State:
        """Whether a study can be scored now."""
        if not desk.model.ready or not desk.readers.ready:
            raise ServiceError(503, "a process is being started", {"Retry-After": "1"})
        await desk.check_audit()
        return State(status="ready")

    @app.get(access.BUNDLE, dependencies=[_token()], responses=_errors(*_ALWAYS), response_model=BundleCard)
    async def bundle() -> Response:
        """What the served bundle reads, finds, and is for."""
        return JSONResponse({key: value for key, value in desk.model.card.items() if not key.startswith("_")})

    @app.get(access.METRICS, dependencies=[_token()], responses=_errors(*_ALWAYS), response_class=Response)
    async def metrics() -> Response:
        """Counters for Prometheus."""
        return Response(desk.measures.text(), media_type="text/plain; version=0.0.4; charset=utf-8")


def _add_score(app: FastAPI, desk: ScoringHandler, *, largest: int, most: int, seconds: float) -> None:
    @app.post(
        access.SCORE,
        dependencies=[_token()],
        response_model=Scores,
        responses=_errors(*_ALWAYS, *_OF_SCORE),
        openapi_extra={"requestBody": _body([one["name"] for one in desk.model.card["modalities"]])},
    )
    async def score(
        request: Request,
        views: Annotated[bool, Query(description="whether to show the files")] = False,
        explain: Annotated[
            str | None, Query(description="a finding; says where its score comes from", max_length=_LONGEST_FINDING)
        ] = None,
    ) -> Response:
        """Score one study: a part for each file, named by its modality, or `files` to be sorted by their endings.

        Files that belong together, such as a header and its signals, are parts of one name. A modality that cannot
        be read does not speak, and its `problem` says why.
        """
        started = time.monotonic()
        admission = desk.next_request(neighbourhood(request.client.host) if request.client is not None else "")
        number = request.state.number = admission.number
        upload, status = None, access.GONE
        used: list[str] = []
        try:
            async with desk.place(admission):
                await desk.check_audit()
                desk.check_finding(explain)
                upload = Upload(
                    request.headers.get("content-type", ""), largest=largest, most=most, digest=desk.audit.digest
                )
                parts = await upload.read(request.headers, request.stream(), seconds=seconds)
                told = await desk.score(admission, parts, used, views=views, finding=explain)
                answer, status = JSONResponse(told, headers={"x-request-number": str(number)}), 200
        except ServiceError as refusal:
            status = refusal.status
            raise
        finally:
            desk.measures.uploaded.inc(upload.size if upload is not None else 0)
            await desk.enter(number, upload, used, status, started)
        return answer


def _add_errors(app: FastAPI) -> None:
    @app.exception_handler(ServiceError)
    async def refused(request: Request, refusal: ServiceError) -> Response:
        return refusal.response()

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        names = sorted({str(one["loc"][-1]) for one in error.errors() if one["loc"][0] == "query"})
        return ServiceError(422, f"got a value of {names} that is not of its kind; see /openapi.json").response()

    @app.exception_handler(HTTPException)
    async def unknown(request: Request, error: HTTPException) -> Response:
        message = {
            404: "nothing is here; see /openapi.json",
            405: "got another method, expected one that is allowed here",
        }
        return ServiceError(error.status_code, message.get(error.status_code, "refused"), error.headers).response()


def _token() -> Any:
    """Documents the token; ``access.AccessMiddleware`` asks for it."""
    return Security(HTTPBearer(auto_error=False, scheme_name="token"))


def _errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    return {status: {"model": Error, "description": _SAID[status]} for status in statuses}


def _body(names: list[str]) -> dict[str, Any]:
    of_files = {"type": "array", "items": {"type": "string", "format": "binary"}}
    properties = {name: {**of_files, "description": f"the study's {name}"} for name in names}
    properties[FILES] = {**of_files, "description": "files of any modality"}
    schema = {"type": "object", "properties": properties, "minProperties": 1, "additionalProperties": False}
    return {"required": True, "content": {"multipart/form-data": {"schema": schema}}}
