"""The HTTP routes of the service."""

import hashlib
import time
from collections.abc import Sequence
from importlib.resources import files
from typing import Annotated, Any

from fastapi import FastAPI, Query, Request, Response, Security
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.security import HTTPBearer
from fastapi.staticfiles import StaticFiles
from pydantic import TypeAdapter
from starlette.exceptions import HTTPException

from polyclinic import __version__
from polyclinic.deploy.fhir import MEDIA_TYPE, observations
from polyclinic.deploy.scores import StudyScores
from polyclinic.deploy.service import middleware as access
from polyclinic.deploy.service.errors import ServiceError
from polyclinic.deploy.service.middleware import neighbourhood
from polyclinic.deploy.service.schemas import BundleCard, Error, Scores, State
from polyclinic.deploy.service.scoring import ScoringHandler, modalities_read
from polyclinic.deploy.service.uploads import FILES, Part, Upload
from polyclinic.deploy.service.workers.decoder_pool import Reading
from polyclinic.system.research import ResearchModel

_MAX_FINDING_LENGTH = 200
_ID_LENGTH = 12
_SCORES = TypeAdapter(StudyScores)
_FHIR = {"content": {MEDIA_TYPE: {"schema": {"type": "object", "description": "Bundle of FHIR R4"}}}}
_COMMON_ERRORS = (400, 401, 403, 429)
_SCORE_ERRORS = (408, 413, 415, 422, 503)
_DESCRIPTIONS = {
    400: "A broken request.", 401: "No valid token.", 403: "Sent by a page of another site.", 408: "Sent too slowly.",
    413: "Too large.", 415: "Not multipart.", 422: "No file can be read, or a value or part is not as expected.",
    429: "Too many requests.", 503: "Busy, a process was just stopped, or the audit log cannot be written.",
}  # fmt: skip


def build_app(handler: ScoringHandler, *, largest: int, most: int, seconds: float) -> FastAPI:
    """Build the application, without its access middleware.

    Args:
        handler: handler of scoring requests.
        largest: maximum size of a file in bytes.
        most: maximum size of a request in bytes.
        seconds: maximum time for sending a request.
    """
    app = FastAPI(
        title="Polyclinic", version=__version__, docs_url=None, redoc_url=None, redirect_slashes=False,
        description=handler.model.bundle.card["not_a_device"],
    )  # fmt: skip
    _add_state(app, handler)
    _add_score(app, handler, largest=largest, most=most, seconds=seconds)
    _add_errors(app)
    # As the fallback after all routes: if mounted, it would answer other methods of a route before that route does.
    app.router.default = StaticFiles(directory=str(files("polyclinic.deploy") / "page"), html=True, check_dir=False)
    return app


def _add_state(app: FastAPI, handler: ScoringHandler) -> None:
    @app.get(access.ALIVE, responses=_errors(400))
    async def healthz() -> State:
        """Report that the front process answers."""
        return State(status="alive")

    @app.get(access.READY, responses=_errors(400, 503))
    async def readyz() -> State:
        """Report whether a study can be scored now."""
        if not handler.model.ready or not handler.readers.ready:
            raise ServiceError(503, "a process is being started", {"Retry-After": "1"})
        await handler.check_audit()
        return State(status="ready")

    @app.get(access.BUNDLE, dependencies=[_token()], responses=_errors(*_COMMON_ERRORS), response_model=BundleCard)
    async def bundle() -> Response:
        """Describe the bundle: modalities, findings and intended use."""
        return JSONResponse(handler.model.bundle.card)

    @app.get(access.METRICS, dependencies=[_token()], responses=_errors(*_COMMON_ERRORS), response_class=Response)
    async def metrics() -> Response:
        """Return the metrics for Prometheus."""
        return Response(handler.measures.text(), media_type="text/plain; version=0.0.4; charset=utf-8")


def _add_score(app: FastAPI, handler: ScoringHandler, *, largest: int, most: int, seconds: float) -> None:
    @app.post(
        access.SCORE,
        dependencies=[_token()],
        response_model=Scores,
        responses={200: _FHIR, **_errors(*_COMMON_ERRORS, *_SCORE_ERRORS)},
        openapi_extra={"requestBody": _body([entry["name"] for entry in handler.model.bundle.card["modalities"]])},
    )
    async def score(
        request: Request,
        views: Annotated[bool, Query(description="whether to return a view of each file")] = False,
        explain: Annotated[
            str | None, Query(description="finding, level or quantity to explain", max_length=_MAX_FINDING_LENGTH)
        ] = None,
    ) -> Response:
        """Score one study. Send each file as a part named by its modality, or `files` to assign it by its ending.

        Files that belong together, such as a header and its signals, have the same part name. An unreadable modality
        is left out of the score, and its `problem` states the reason. With `Accept: application/fhir+json`, the answer
        is a Bundle of Observations of FHIR R4.
        """
        started = time.monotonic()
        admission = handler.next_request(neighbourhood(request.client.host) if request.client is not None else "")
        number = request.state.number = admission.number
        upload, status = None, access.GONE
        readings: dict[str, Reading] = {}
        try:
            async with handler.place(admission):
                await handler.check_audit()
                handler.check_finding(explain)
                upload = Upload(
                    request.headers.get("content-type", ""), largest=largest, most=most, digest=handler.audit.digest
                )
                parts = await upload.read(request.headers, request.stream(), seconds=seconds)
                readings = await handler.read(admission, parts, views=views)
                scores = await handler.score(admission, parts, readings, views=views, finding=explain)
                answer, status = _answer(handler, request, parts, scores), 200
                answer.headers["x-request-number"] = str(number)
        except ServiceError as error:
            status = error.status
            raise
        finally:
            handler.measures.uploaded.inc(upload.size if upload is not None else 0)
            await handler.record(number, upload, modalities_read(readings), status, started)
        return answer


def _answer(handler: ScoringHandler, request: Request, parts: Sequence[Part], scores: dict[str, Any]) -> Response:
    """Return scores as JSON, or as FHIR Observations where the client accepts those."""
    if MEDIA_TYPE not in request.headers.get("accept", ""):
        return JSONResponse(scores)
    card = handler.model.bundle.card
    model = ResearchModel(
        name=card["name"], version=card["version"], sha256=card["sha256"], not_a_device=card["not_a_device"]
    )
    content = hashlib.sha256("".join(sorted(part.digest.hexdigest() for part in parts)).encode()).hexdigest()
    study = (f"s{content[:_ID_LENGTH]}", _SCORES.validate_python(scores))
    return JSONResponse(observations(model, [study]), media_type=MEDIA_TYPE)


def _add_errors(app: FastAPI) -> None:
    @app.exception_handler(ServiceError)
    async def service_error(request: Request, error: ServiceError) -> Response:
        return error.response()

    @app.exception_handler(RequestValidationError)
    async def invalid_query(request: Request, error: RequestValidationError) -> Response:
        names = sorted({str(entry["loc"][-1]) for entry in error.errors() if entry["loc"][0] == "query"})
        return ServiceError(422, f"got an invalid value of {names}; see /openapi.json").response()

    @app.exception_handler(HTTPException)
    async def http_error(request: Request, error: HTTPException) -> Response:
        message = {
            404: "got an unknown path; see /openapi.json",
            405: "got a method that is not allowed for this path; see /openapi.json",
        }
        return ServiceError(error.status_code, message.get(error.status_code, "refused"), error.headers).response()


def _token() -> Any:
    """Document the token in OpenAPI; ``AccessMiddleware`` checks it."""
    return Security(HTTPBearer(auto_error=False, scheme_name="token"))


def _errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    return {status: {"model": Error, "description": _DESCRIPTIONS[status]} for status in statuses}


def _body(names: list[str]) -> dict[str, Any]:
    file_list = {"type": "array", "items": {"type": "string", "format": "binary"}}
    properties = {name: {**file_list, "description": f"{name} of the study"} for name in names}
    properties[FILES] = {**file_list, "description": "files of any modality"}
    schema = {"type": "object", "properties": properties, "minProperties": 1, "additionalProperties": False}
    return {"required": True, "content": {"multipart/form-data": {"schema": schema}}}
