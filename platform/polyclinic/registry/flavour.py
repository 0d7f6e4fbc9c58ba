"""A bundle as a model of MLflow: written, logged, registered and loaded."""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from platform import python_version
from shutil import copytree

import yaml

from polyclinic.deploy.bundle import Bundle, load_bundle
from polyclinic.tracking import silence_telemetry

silence_telemetry()

# Below the call, because importing any of these imports mlflow.
import mlflow.artifacts  # noqa: E402
from mlflow import MlflowClient  # noqa: E402
from mlflow.entities import LoggedModel, LoggedModelOutput, LoggedModelStatus, Run  # noqa: E402
from mlflow.exceptions import MlflowException  # noqa: E402
from mlflow.models import Model  # noqa: E402
from mlflow.version import VERSION  # noqa: E402

FLAVOUR = "polyclinic"
LOADER = "polyclinic.registry.pyfunc"
DIGEST, CHECKPOINT = "polyclinic.bundle", "polyclinic.checkpoint"
_BUNDLE, _MLMODEL, _REQUIREMENTS, _PYTHON = "bundle", "MLmodel", "requirements.txt", "python_env.yaml"
_INSTALLED = ("polyclinic", "torch")


@dataclass(frozen=True, kw_only=True)
class Registered:
    """Where a bundle is in the registry.

    Attributes:
        name: of the registered model.
        version: of it, from 1.
        run_id: of the run that it belongs to.
        new: whether it was not there before.
    """

    name: str
    version: int
    run_id: str | None
    new: bool

    @property
    def uri(self) -> str:
        """By which MLflow loads it."""
        return f"models:/{self.name}/{self.version}"


def save_bundle(folder: Path, path: Path, *, run_id: str | None = None, model_id: str | None = None) -> Bundle:
    """Write a bundle as a model folder of MLflow, which holds no pickle and no code.

    Args:
        folder: of ``polyclinic bundle export``.
        path: a new folder.
        run_id: of the run that it belongs to.
        model_id: that the tracking server gave it.

    Raises:
        ValueError: the bundle is not whole.
    """
    bundle = load_bundle(folder)
    copytree(folder, path / _BUNDLE)
    # Written by hand: MLflow's helpers ask pip, which asks the network, and import every flavour that MLflow has.
    needed = [f"{name}=={version(name).partition('+')[0]}" for name in _INSTALLED] + [f"mlflow=={VERSION}"]
    (path / _REQUIREMENTS).write_text("".join(f"{one}\n" for one in needed), encoding="utf-8")
    python = {"python": python_version(), "dependencies": [f"-r {_REQUIREMENTS}"]}
    (path / _PYTHON).write_text(yaml.safe_dump(python), encoding="utf-8")
    model = Model(run_id=run_id, model_id=model_id, metadata=_told(bundle))
    model.add_flavor(
        "python_function",
        loader_module=LOADER,
        data=_BUNDLE,
        env={"virtualenv": _PYTHON},
        python_version=python_version(),
    )
    model.add_flavor(FLAVOUR, bundle=_BUNDLE, format=bundle.content.format)
    model.save(str(path / _MLMODEL))
    return bundle


def log_bundle(
    folder: Path, *, registered_name: str, client: MlflowClient, experiment_id: str, name: str = "bundle"
) -> Registered:
    """Log a bundle into the run that trained it, or into a new one, and register a version of it.

    Args:
        folder: of ``polyclinic bundle export``.
        registered_name: of the model in the registry; made on first use.
        client: of a tracking store with a registry.
        experiment_id: of a new run, where the store does not have the run that trained the bundle.
        name: of the logged model in its run.

    Returns:
        The version; one that is there already where it holds the same bundle.

    Raises:
        ValueError: the bundle is not whole.
        MlflowException: the store refuses.
    """
    bundle = load_bundle(folder)
    if (found := _registered(client, registered_name, bundle.digest)) is not None:
        return found
    trained = _run_that_trained(client, bundle)
    run = trained or client.create_run(experiment_id, run_name=f"bundle {bundle.content.name}")
    try:
        model = _log(client, folder, name, run, _told(bundle))
        registered = _register(client, registered_name, model, bundle)
    except BaseException:
        if trained is None:
            client.set_terminated(run.info.run_id, status="FAILED")
        raise
    if trained is None:
        client.set_terminated(run.info.run_id)
    return registered


def load_model(uri: str) -> Bundle:
    """The bundle behind a model of MLflow, checked against its checksums.

    Args:
        uri: such as ``models:/NAME/1``, looked up where MLflow is set to, or a folder.

    Raises:
        ValueError: the model holds no bundle, or one that is not whole.
    """
    with tempfile.TemporaryDirectory() as folder:
        local = Path(mlflow.artifacts.download_artifacts(artifact_uri=uri, dst_path=folder))
        flavour = Model.load(str(local)).flavors.get(FLAVOUR)
        if flavour is None or flavour.get("bundle") != _BUNDLE:
            raise ValueError(f"the model has no flavour {FLAVOUR!r}; set it to one of `polyclinic bundle register`")
        return load_bundle(local / _BUNDLE)


def _log(client: MlflowClient, folder: Path, name: str, run: Run, tags: Mapping[str, str]) -> LoggedModel:
    run_id = run.info.run_id
    model = client.create_logged_model(run.info.experiment_id, name=name, source_run_id=run_id, tags=dict(tags))
    try:
        with tempfile.TemporaryDirectory() as temporary:
            save_bundle(folder, Path(temporary) / name, run_id=run_id, model_id=model.model_id)
            client.log_model_artifacts(model.model_id, str(Path(temporary) / name))
    except BaseException:
        client.finalize_logged_model(model.model_id, LoggedModelStatus.FAILED)
        raise
    client.finalize_logged_model(model.model_id, LoggedModelStatus.READY)
    client.log_outputs(run_id, [LoggedModelOutput(model.model_id, step=0)])
    return model


def _register(client: MlflowClient, name: str, model: LoggedModel, bundle: Bundle) -> Registered:
    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    made = client.create_model_version(
        name,
        model.artifact_location,  # "models:/..." would be looked up at the address of the process, not of the client
        run_id=model.source_run_id,
        model_id=model.model_id,
        tags=_told(bundle),
        description=f"{bundle.content.intended_use} {bundle.content.not_a_device}",
    )
    return Registered(name=name, version=int(made.version), run_id=model.source_run_id, new=True)


def _registered(client: MlflowClient, name: str, digest: str) -> Registered | None:
    """The newest version that holds this bundle already."""
    found = client.search_model_versions(f"name = '{name}'")
    same = [one for one in found if one.tags.get(DIGEST) == digest]
    if not same:
        return None
    newest = max(same, key=lambda one: int(one.version))
    return Registered(name=name, version=int(newest.version), run_id=newest.run_id or None, new=False)


def _run_that_trained(client: MlflowClient, bundle: Bundle) -> Run | None:
    """None where this store does not have it, or not any more."""
    if (run_id := bundle.content.origin.run_id) is None:
        return None
    try:
        run = client.get_run(run_id)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return None
    return run if run.info.lifecycle_stage == "active" else None


def _told(bundle: Bundle) -> dict[str, str]:
    return {DIGEST: bundle.digest, CHECKPOINT: bundle.content.origin.checkpoint_sha256}
