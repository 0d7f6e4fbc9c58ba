"""A bundle in the MLflow registry: found by its run, loaded without pickle and network, with the same scores."""

import base64
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pandas as pd
import pytest
from mlflow import MlflowClient, pyfunc
from mlflow.models import Model

from mlflow_servers import PASSWORD, free_port, postgres, tracking_server
from no_network import unplugged
from polyclinic.cli import main
from polyclinic.deploy.bundle import load_bundle
from polyclinic.registry.flavour import load_model, save_bundle
from polyclinic.registry.pyfunc import ScoringModel

pytestmark = pytest.mark.processes

_REFUSING = """
import os, sys
os.environ["MLFLOW_ALLOW_PICKLE_DESERIALIZATION"] = "false"
def hook(event, arguments):
    if event in ("socket.connect", "socket.sendto") and isinstance(arguments[1], tuple):
        assert arguments[1][0] in ("127.0.0.1", "localhost", "::1"), "the network was used"
    assert event != "socket.getaddrinfo" or arguments[0] in ("127.0.0.1", "localhost"), "a name was looked up"
    assert event != "pickle.find_class" or not bundled, "something was unpickled"
    assert event != "subprocess.Popen" or "pip" not in str(arguments), "pip was run"
bundled = False
sys.addaudithook(hook)
"""


@pytest.fixture(scope="module")
def scored(made: Path, bundle_folder: Path, study_files: dict[str, Path]) -> dict[str, Any]:
    """Return the report of ``polyclinic score`` on the study."""
    words = [word for name, path in study_files.items() for word in (f"--{name}", str(path))]
    assert main(["score", str(bundle_folder), *words, "--json", str(made / "scores.json")]) == 0
    record: dict[str, Any] = json.loads((made / "scores.json").read_text())
    return record


@pytest.fixture(scope="module")
def model(bundle_folder: Path) -> ScoringModel:
    return ScoringModel(load_bundle(bundle_folder))


def _run_in_fresh_process(script: str, *words: str, **environment: str) -> str:
    """Run a script in a separate process, which may reach this machine only."""
    variables = {**os.environ, "OMP_NUM_THREADS": "1", **environment}
    process = subprocess.run(
        [sys.executable, "-c", _REFUSING + script, *words], capture_output=True, text=True, env=variables
    )
    assert process.returncode == 0, process.stderr[-3000:]
    return process.stdout


_REGISTER = """
from polyclinic.cli import main
for _ in range(2):
    assert main(["bundle", "register", *sys.argv[3:]]) == 0
"""
_PREDICT = """
import json, mlflow
from pathlib import Path
import polyclinic.registry.pyfunc
loaded = mlflow.pyfunc.load_model(sys.argv[1])
bundled = True
print(json.dumps(loaded.predict({name: Path(path) for name, path in json.loads(sys.argv[2]).items()})))
"""


def test_a_model_is_logged_to_its_training_run_and_scores_as_polyclinic_score_does(
    made: Path,
    bundle_folder: Path,
    study_files: dict[str, Path],
    scored: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    uri = f"sqlite:///{made / 'runs' / 'mlflow.db'}"
    sources = json.dumps({name: str(path) for name, path in study_files.items()})
    words = ["models:/chest 1.x/1", sources, str(bundle_folder), "--name", "chest 1.x", "--out", str(made / "runs")]
    message = _run_in_fresh_process(_REGISTER + _PREDICT, *words, MLFLOW_TRACKING_URI=uri)
    assert message.index("registered: chest 1.x, version 1") < message.index("already registered: chest 1.x, version 1")
    client, bundle = MlflowClient(uri), load_bundle(bundle_folder)
    (version,) = client.search_model_versions("name = 'chest 1.x'")
    assert version.run_id == bundle.content.origin.run_id
    assert version.tags["polyclinic.bundle"] == bundle.digest
    assert "not a medical device" in version.description
    run = client.get_run(version.run_id)
    assert run.info.status == "FINISHED"
    (output,) = run.outputs.model_outputs
    assert str(client.get_logged_model(output.model_id).status) == "READY"
    files = {str(path.relative_to(made)): path for path in (made / "runs").rglob(f"{output.model_id}/**/*")}
    names = sorted(path.name for path in files.values() if path.is_file())
    of_mlflow = ["MLmodel", "python_env.yaml", "registered_model_meta", "requirements.txt"]
    assert names == sorted([*of_mlflow, *(path.name for path in bundle_folder.iterdir())])
    assert json.loads(message.splitlines()[-1]) == scored
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    assert load_model("models:/chest 1.x/1").digest == bundle.digest
    client.delete_run(run.info.run_id)
    assert main(["bundle", "register", str(bundle_folder), "--name", "chest of a deleted run"]) == 0
    client.restore_run(run.info.run_id)
    (orphan,) = client.search_model_versions("name = 'chest of a deleted run'")
    assert orphan.run_id != run.info.run_id
    assert client.get_run(orphan.run_id).info.status == "FINISHED"


@pytest.mark.slow
def test_a_server_with_user_accounts_stores_and_returns_the_model(
    bundle_folder: Path, study_files: dict[str, Path], scored: dict[str, Any], tmp_path: Path
) -> None:
    with postgres(tmp_path) as database, tracking_server(database, tmp_path) as address:
        user = {"MLFLOW_TRACKING_USERNAME": "admin", "MLFLOW_TRACKING_PASSWORD": PASSWORD}
        files = json.dumps({name: str(path) for name, path in study_files.items()})
        words = ["models:/chest/1", files, str(bundle_folder), "--name", "chest"]
        message = _run_in_fresh_process(_REGISTER + _PREDICT, *words, MLFLOW_TRACKING_URI=address, **user)
    assert message.index("registered: chest, version 1") < message.index("already registered: chest, version 1")
    assert PASSWORD not in message
    assert json.loads(message.splitlines()[-1]) == scored


@pytest.fixture
def served(bundle_folder: Path, tmp_path: Path) -> Iterator[Any]:
    """Start ``mlflow models serve`` in a network namespace and send one request."""
    save_bundle(bundle_folder, tmp_path / "model")
    port = free_port()
    variables = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "OMP_NUM_THREADS": "1"}
    words = ["mlflow", "models", "serve", "--env-manager", "local", "-m", str(tmp_path / "model"), "-p", str(port)]
    with (tmp_path / "log").open("w") as log:
        server = subprocess.Popen(words, env=variables, stdout=log, stderr=log, cwd=tmp_path, start_new_session=True)
        try:
            for _ in range(2400):
                assert server.poll() is None, (tmp_path / "log").read_text()
                try:
                    urlopen(f"http://127.0.0.1:{port}/ping", timeout=2).close()
                    break
                except OSError:
                    time.sleep(0.1)
            yield lambda body: _send(port, body)
        finally:
            os.killpg(server.pid, 15)
            server.wait(timeout=120)


def _send(port: int, body: dict[str, Any]) -> Any:
    request = Request(
        f"http://127.0.0.1:{port}/invocations", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    try:
        with urlopen(request, timeout=60) as answer:
            return json.loads(answer.read())["predictions"]
    except HTTPError as refusal:
        with refusal:
            return json.loads(refusal.read())["stack_trace"].splitlines()[-1]


def _b64(path: Path) -> dict[str, str]:
    return {"b64": base64.b64encode(path.read_bytes()).decode()}


def _used_modalities(record: dict[str, Any]) -> list[str]:
    return sorted(name for name, use in record["modalities"].items() if use["used"])


def _as_json(files: dict[str, Path]) -> dict[str, Any]:
    """Return the study as a client sends it, with its ECG in two files."""
    parts = {path.name: _b64(path) for path in (files["ecg"].with_suffix(".hea"), files["ecg"].with_suffix(".dat"))}
    return {**{name: _b64(path) for name, path in files.items()}, "ecg": parts}


def test_mlflow_serves_the_model_and_input_is_never_taken_for_a_path(
    served: Any, study_files: dict[str, Path], scored: dict[str, Any]
) -> None:
    study = _as_json(study_files)
    assert served({"inputs": study}) == scored
    results = served({"dataframe_records": [study, {"xray": study["xray"]}, {"report": "no words of a signal"}]})
    assert [_used_modalities(result) for result in results[:2]] == [["ecg", "tabular", "xray"], ["xray"]]
    assert results[2] == {"problem": "it has none of ['ecg', 'tabular', 'xray']"}
    record = served({"inputs": {"xray": str(study_files["xray"])}})
    assert record.startswith("ValueError: xray: got inline data, expected a DICOM")
    assert served({"instances": [study]}).startswith("ValueError: got arrays of studies")


def test_serving_a_model_needs_no_network(bundle_folder: Path, tmp_path: Path) -> None:
    save_bundle(bundle_folder, tmp_path / "model")
    script = _REFUSING + "import mlflow; print(mlflow.pyfunc.load_model(sys.argv[1]).loader_module)"
    words = unplugged(sys.executable, "-c", script, str(tmp_path / "model"), python=sys.executable)
    process = subprocess.run(words, capture_output=True, text=True)
    assert process.returncode == 0, process.stderr
    assert process.stdout.strip() == "polyclinic.registry.pyfunc"


def test_every_way_to_give_a_file_gives_the_same_scores(
    model: ScoringModel, study_files: dict[str, Path], scored: dict[str, Any]
) -> None:
    content = {name: path.read_bytes() for name, path in study_files.items() if name != "ecg"}
    header, signals = (study_files["ecg"].with_suffix(suffix) for suffix in (".hea", ".dat"))
    ecg = {signals.name: signals.read_bytes(), header.name: memoryview(header.read_bytes())}
    report = study_files["report"].read_text()
    assert model.predict(study_files) == scored
    assert model.predict({**content, "ecg": ecg}) == scored
    assert model.predict({**content, "ecg": ecg, "report": report}) == scored
    assert model.predict(_as_json(study_files)) == scored
    assert model.predict({**study_files, "xray": {"any name, även så": content["xray"]}}) == scored
    rows = [line.split(",") for line in study_files["tabular"].read_text().splitlines()[1:]]
    cells = {row[0]: row[1] for row in rows}
    by_cells = model.predict({"tabular": cells})
    assert by_cells["findings"] == model.predict({"tabular": content["tabular"]})["findings"]


def test_many_studies_are_scored_as_if_alone_and_a_failing_one_is_reported(
    model: ScoringModel, study_files: dict[str, Path]
) -> None:
    xray, study = {"xray": study_files["xray"]}, dict(study_files)
    broken = {"xray": b"DICM", "ecg": study_files["ecg"]}
    rows: list[dict[str, Any]] = [xray, study, broken, {"xray": b""}, {}, {"mri": b"1"}] * 12
    record = model.predict(rows)
    assert isinstance(record, list)
    assert len(record) == len(rows)
    for index, row in enumerate((xray, study)):
        expected_result = model.predict(row)
        for result in record[index::6]:
            assert [finding["name"] for finding in result["findings"]] == [
                finding["name"] for finding in expected_result["findings"]
            ]
            for got, expected in zip(result["findings"], expected_result["findings"], strict=True):
                assert got["score"] == pytest.approx(expected["score"], abs=1e-9)
    assert record[2]["modalities"]["xray"]["used"] is False
    assert record[2]["modalities"]["xray"]["problem"]
    assert "problem" in record[3]
    assert record[4] == {"problem": "it has none of ['ecg', 'tabular', 'xray']"}
    assert record[5]["problem"].startswith("got modality 'mri', expected one of")
    table = model.predict(pd.DataFrame([xray, study]))
    assert (
        [_used_modalities(result) for result in table]
        == [_used_modalities(result) for result in record[:2]]
        == [["xray"], ["ecg", "tabular", "xray"]]
    )
    assert model.predict([]) == []


@pytest.mark.parametrize(
    ("study", "sentence"),
    [
        ({"xray": {"b64": "not base64!"}}, "xray: 'b64' is not base64"),
        ({"xray": {"b64": 7}}, "xray: 'b64' is not base64"),
        ({"xray": 7}, "xray: got int, expected a path"),
        ({"xray": {}}, "xray: got dict, expected a path"),
        ({"xray": {"a": b"1", "b": "2"}}, "xray: got files and cells in one mapping"),
        ({"xray": {"../a": b"1"}}, "xray: got a file name that is too long or includes a folder"),
        ({"xray": {"..": b"1"}}, "xray: got a file name that is too long or includes a folder"),
        ({"xray": {"": b"1"}}, "xray: got a file name that is too long or includes a folder"),
        ({"xray": {"a\0": b"1"}}, "xray: got a file name that is too long or includes a folder"),
        ({"xray": {"ä" * 200: b"1"}}, "xray: got a file name that is too long or includes a folder"),
        ({"xray": {"a": b"1", "b": b"2"}}, "xray: got 2 files, of which none names all others"),
        ({"ecg": {"a.hea": b"a 1 100 100\n../b.dat 16\n", "b.dat": b"0" * 200}}, "ecg: "),
        ({"xray": b""}, "xray: "),
        ({"mri": b""}, "got modality 'mri', expected one of"),
        ({}, "got a study with nothing"),
        ({"xray": None, "ecg": float("nan")}, "got a study with nothing"),
        ("a.dcm", "got str, expected a mapping of modalities"),
        (7, "got int, expected a mapping of modalities"),
    ],
)
def test_input_that_cannot_be_scored_is_reported_and_leaves_no_file(
    model: ScoringModel, study: Any, sentence: str
) -> None:
    before = set(Path("/dev/shm").glob("polyclinic-*"))
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}"):
        model.predict(study)
    assert set(Path("/dev/shm").glob("polyclinic-*")) <= before


@pytest.mark.filterwarnings("ignore:.*Any type hint is inferred:UserWarning")  # of MLflow, at the import of pyfunc
def test_altered_models_and_models_of_another_kind_are_refused(bundle_folder: Path, tmp_path: Path) -> None:
    save_bundle(bundle_folder, tmp_path / "model")
    weights = tmp_path / "model" / "bundle" / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(ValueError, match="it was altered or is damaged"):
        pyfunc.load_model(str(tmp_path / "model"))
    with pytest.raises(ValueError, match="it was altered or is damaged"):
        load_model(str(tmp_path / "model"))
    model = Model()
    model.add_flavor("sklearn", pickled_model="model.pkl")
    model.save(str(tmp_path / "MLmodel"))
    with pytest.raises(ValueError, match="the model has no flavour 'polyclinic'"):
        load_model(str(tmp_path))


def test_a_failed_registration_leaves_nothing_in_the_registry(
    bundle_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["bundle", "register", str(bundle_folder), "--name", "a'b"]) == 1
    assert 'got name "a\'b", expected letters' in capsys.readouterr().err
    damaged = Path(shutil.copytree(bundle_folder, tmp_path / "damaged"))
    (damaged / "bundle.json").write_text("{}")
    assert main(["bundle", "register", str(damaged)]) == 1
    assert "it was altered or is damaged" in capsys.readouterr().err
    assert not Path("runs").exists()

    def refuse(*_: object, **__: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(MlflowClient, "log_model_artifacts", refuse)
    assert main(["bundle", "register", str(bundle_folder), "--name", "chest"]) == 1
    assert "did not accept the bundle (disk full); register it again" in capsys.readouterr().err
    client = MlflowClient(f"sqlite:///{Path('runs/mlflow.db').absolute()}")
    assert client.search_registered_models() == []
    (run,) = client.search_runs([client.get_experiment_by_name("polyclinic").experiment_id])
    assert run.info.status == "FAILED"
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    assert main(["bundle", "register", str(bundle_folder)]) == 0
    (version,) = client.search_model_versions("name = 'bundle'")
    assert version.run_id != run.info.run_id
    assert client.get_run(version.run_id).info.status == "FINISHED"
