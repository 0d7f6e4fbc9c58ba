"""A service that shows real files with the plugins and made-up scores, for the tests of the page."""

import json
import math
import re
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
import torch

from polyclinic.modality import Modality, UnreadableSource, Viewable

PAGE = Path(__file__).parents[2] / "platform" / "polyclinic" / "deploy" / "page"
CSP = (
    "default-src 'self'; img-src 'self' data: blob:; style-src 'self'; script-src 'self'; object-src 'none'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
QUERY = ("xray", "ecg", "audio", "tabular")
FINDINGS = ("cardiomegaly", "pulmonary_edema", "pleural_effusion", "atrial_fibrillation", "anemia", "consolidation")
_KINDS = {".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
Part = tuple[str, str, bytes]


@dataclass
class Service:
    """Behaviour of the service, and the requests that it got."""

    plugins: dict[str, Modality]
    token: str = ""
    refusal: tuple[int, str] | None = None
    odd: Callable[[dict[str, Any]], None] = lambda answer: None
    hold: threading.Event = field(default_factory=threading.Event)
    asked: list[dict[str, Any]] = field(default_factory=list)
    address: str = ""

    def bundle(self) -> dict[str, Any]:
        modalities = [
            {
                "name": name,
                "title": plugin.title,
                "accept": [end for end in plugin.suffixes if end],
                "query": name in QUERY,
            }
            for name, plugin in self.plugins.items()
            if isinstance(plugin, Viewable)
        ]
        auroc = {"value": 0.87, "low": 0.81, "high": 0.92}
        return {
            "name": "phantom",
            "version": "0.2.0",
            "created": "2026-11-25T20:00:00Z",
            "modalities": modalities,
            "findings": [{"name": name, "auroc": None if name == "anemia" else auroc} for name in FINDINGS],
            "intended_use": "Research on synthetic patients.",
            "baseline": "The model is better than the baseline: mean AUROC 0.900 against 0.850.",
            "evidence": "Evidence is that of the neural network of the model. A linear model adds 40% of a score.",
            "not_a_device": "This is research software and not a medical device. It must not be used to diagnose.",
            "sha256": "0123abcd" * 8,
        }

    def score(self, parts: list[Part], explain: str | None, views: bool) -> dict[str, Any]:
        with tempfile.TemporaryDirectory() as folder:
            return self._score(Path(folder), parts, explain, views)

    def _score(self, folder: Path, parts: list[Part], explain: str | None, views: bool) -> dict[str, Any]:
        files: dict[str, list[Path]] = {}
        modality_of_file: list[str | None] = []
        for name, filename, content in parts:
            path = folder / Path(filename).name
            path.write_bytes(content)
            chosen = name if name != "files" else self._kind(path)
            modality_of_file += [chosen] if name == "files" else []
            if chosen is not None:
                files.setdefault(chosen, []).append(path)
        raws, problems = {}, {}
        for name, paths in files.items():
            try:
                raws[name] = self.plugins[name].read(sorted(paths, key=lambda path: path.suffix != ".hea")[0])
            except UnreadableSource as reason:
                problems[name] = str(reason)
        used = [name for name in QUERY if name in raws]
        answer = {
            "bundle": "0123abcd" * 8,
            "files": modality_of_file,
            "modalities": {name: use(name, used, problems) for name in QUERY},
            "findings": [finding(name, used) for name in FINDINGS],
            "notes": [f"{name} could not be read: {problem}" for name, problem in problems.items()],
        }
        plugins = {name: self.plugins[name] for name in raws}
        if views:
            answer["views"] = {
                name: plugin.view(raws[name]).as_json()
                for name, plugin in plugins.items()
                if isinstance(plugin, Viewable)
            }
        if explain is not None:
            answer["relevance"] = {name: self._relevance(name, raws[name], explain) for name in used}
        self.odd(answer)
        return answer

    def _kind(self, path: Path) -> str | None:
        names = [name for name, plugin in self.plugins.items() if path.suffix.lower() in plugin.suffixes]
        for name in names:
            try:
                self.plugins[name].read(path)
            except UnreadableSource:
                continue
            return name
        return names[0] if names else None

    def _relevance(self, name: str, raw: Any, explain: str) -> dict[str, Any]:
        plugin = self.plugins[name]
        assert isinstance(plugin, Viewable)
        item = plugin.prepare(raw)
        count = plugin.default_encoder("nano").eval()(plugin.collate([item])).padding.shape[1]
        rng = np.random.default_rng(len(explain) + len(name))
        bumps = sum(np.exp(-(((np.arange(count) - rng.integers(count)) / (0.06 * count + 1)) ** 2)) for _ in range(2))
        return plugin.locate(raw, item, torch.tensor(bumps)).as_json()


def use(name: str, used: list[str], problems: dict[str, str]) -> dict[str, Any]:
    strange = name == "audio" and name in used
    return {
        "used": name in used,
        "gate": 0.93 if name in used else None,
        "out_of_distribution": strange,
        "distance": (4.25 if strange else 1.2) if name in used else None,
        "limit": 3.0,
        "problem": problems.get(name),
    }


def finding(name: str, used: list[str]) -> dict[str, Any]:
    """Score a finding with log-odds that are the sum over modalities, so that a test knows them."""
    shares = {modality: share_of(name, modality) for modality in used}
    odds = sum(shares.values())
    probability = 1 / (1 + math.exp(-odds))
    calibrated, abstained = name != "anemia", name in ("anemia", "consolidation")
    spread = 0.6 + 0.15 * FINDINGS.index(name)
    reasons = {
        "anemia": "this finding was added by prompts: it has no calibration and no measured performance",
        "consolidation": "at 90% coverage the prediction set holds both classes",
    }
    return {
        "name": name,
        "score": odds,
        "probability": probability if calibrated else None,
        "interval": [1 / (1 + math.exp(spread - odds)), 1 / (1 + math.exp(-spread - odds))] if calibrated else None,
        "threshold": 0.4 if calibrated else None,
        "decision": None if abstained else "present" if probability >= 0.4 else "absent",
        "abstained": abstained,
        "reason": reasons.get(name),
        "contributions": shares,
    }


def share_of(name: str, modality: str) -> float:
    """Return the share of a modality in the log-odds of a finding."""
    return round(3.1 * math.sin(1.7 * FINDINGS.index(name) + 2.3 * QUERY.index(modality) + 0.4), 2)


@contextmanager
def serving(plugins: dict[str, Modality]) -> Iterator[Service]:
    service = Service(plugins)
    service.hold.set()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Asked", (_Handler,), {"service": service}))
    service.address = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield service
    finally:
        service.hold.set()
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    service: Service

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        if path == "/v1/bundle":
            if self._allowed():
                self._json(200, self.service.bundle())
            return
        file = PAGE / (path.strip("/") or "index.html")
        if not file.is_file():
            self._json(404, {"error": {"message": "no such page"}})
            return
        self._send(200, file.read_bytes(), _KINDS[file.suffix])

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        parts = parts_of(body, self.headers["Content-Type"])
        query = {key: value[0] for key, value in parse_qs(urlsplit(self.path).query).items()}
        self.service.asked.append({"query": query, "parts": parts, "token": self.headers.get("Authorization")})
        if not self._allowed():
            return
        self.service.hold.wait(20)
        if self.service.refusal is not None:
            status, message = self.service.refusal
            self._json(status, {"error": {"message": message}})
            return
        self._json(200, self.service.score(parts, query.get("explain"), query.get("views") == "true"))

    def log_message(self, *_: Any) -> None:
        pass

    def _allowed(self) -> bool:
        token = self.service.token
        if token and self.headers.get("Authorization") != f"Bearer {token}":
            self._json(401, {"error": {"message": "got no valid token, expected `Authorization: Bearer`"}})
            return False
        return True

    def _json(self, status: int, content: dict[str, Any]) -> None:
        self._send(status, json.dumps(content, allow_nan=False).encode(), "application/json")

    def _send(self, status: int, content: bytes, kind: str) -> None:
        try:
            self.send_response(status)
            for key, value in (("Content-Type", kind), ("Content-Security-Policy", CSP)):
                self.send_header(key, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)
        except (BrokenPipeError, ConnectionResetError):
            pass  # the page has cancelled the request


def parts_of(body: bytes, kind: str) -> list[Part]:
    """Split a form into name, file name and content of each part."""
    boundary = b"--" + kind.partition("boundary=")[2].encode()
    parts = []
    for piece in body.split(boundary)[1:-1]:
        head, _, content = piece.partition(b"\r\n\r\n")
        names = dict(re.findall(r'(name|filename)="([^"]*)"', head.decode()))
        parts.append((names["name"], names.get("filename", ""), content.removesuffix(b"\r\n")))
    return parts
