"""The MLflow flavour of a bundle: save, log, register and load it."""

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
_PINNED_PACKAGES = ("polyclinic", "torch")


@dataclass(frozen=True, kw_only=True)
class Registered:
    """A registered version of a bundle.

    Attributes:
        name: name of the registered model.
        version: version of the model, from 1.
        run_id: MLflow id of the run to which the version belongs.
        new: whether this call registered the version.
    """

    name: str
    version: int
    run_id: str | None
    new: bool

    @property
    def uri(self) -> str:
        """The URI for MLflow."""
        return f"models:/{self.name}/{self.version}"


def save_bundle(folder: Path, path: Path, *, run_id: str | None = None, model_id: str | None = None) -> Bundle:
    """Write a bundle as an MLflow model folder without pickles and code.

    Args:
        folder: folder from ``polyclinic bundle export``.
        path: a new folder.
        run_id: MLflow id of the run to which the model belongs.
        model_id: model id from the tracking server.

    Raises:
        ValueError: the bundle is incomplete or damaged.
    """
    bundle = load_bundle(folder)
    copytree(folder, path / _BUNDLE)
    # Written directly: MLflow's helpers call pip, which needs the network, and import every flavour of MLflow.
    requirements = [f"{name}=={version(name).partition('+')[0]}" for name in _PINNED_PACKAGES] + [f"mlflow=={VERSION}"]
    (path / _REQUIREMENTS).write_text("".join(f"{line}\n" for line in requirements), encoding="utf-8")
    python = {"python": python_version(), "dependencies": [f"-r {_REQUIREMENTS}"]}
    (path / _PYTHON).write_text(yaml.safe_dump(python), encoding="utf-8")
    model = Model(run_id=run_id, model_id=model_id, metadata=_tags(bundle))
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
    """Log a bundle to the run that trained it, or to a new run, and register a version.

    Args:
        folder: folder from ``polyclinic bundle export``.
        registered_name: name of the model in the registry; created on first use.
        client: client of a tracking store with a registry.
        experiment_id: experiment of the new run, if the store does not have the training run.
        name: name of the logged model in its run.

    Returns:
        The new version, or the existing version of the same bundle.

    Raises:
        ValueError: the bundle is incomplete or damaged.
        MlflowException: the store refuses.
    """
    bundle = load_bundle(folder)
    if (found := _registered(client, registered_name, bundle.digest)) is not None:
        return found
    trained = _run_that_trained(client, bundle)
    run = trained or client.create_run(experiment_id, run_name=f"bundle {bundle.content.name}")
    try:
        model = _log(client, folder, name, run, _tags(bundle))
        registered = _register(client, registered_name, model, bundle)
    except BaseException:
        if trained is None:
            client.set_terminated(run.info.run_id, status="FAILED")
        raise
    if trained is None:
        client.set_terminated(run.info.run_id)
    return registered


def load_model(uri: str) -> Bundle:
    """Load the bundle of an MLflow model and verify its checksums.

    Args:
        uri: a model URI such as ``models:/NAME/1`` in the configured registry, or a folder.

    Raises:
        ValueError: the model does not contain a bundle, or the bundle is incomplete or damaged.
    """
    with tempfile.TemporaryDirectory() as folder:
        local = Path(mlflow.artifacts.download_artifacts(artifact_uri=uri, dst_path=folder))
        flavour = Model.load(str(local)).flavors.get(FLAVOUR)
        if flavour is None or flavour.get("bundle") != _BUNDLE:
            raise ValueError(
                f"the model has no flavour {FLAVOUR!r}; set the URI to a model of `polyclinic bundle register`"
            )
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
    created = client.create_model_version(
        name,
        model.artifact_location,  # "models:/..." would be resolved by the registry of the process, not of the client
        run_id=model.source_run_id,
        model_id=model.model_id,
        tags=_tags(bundle),
        description=f"{bundle.content.intended_use} {bundle.content.not_a_device}",
    )
    return Registered(name=name, version=int(created.version), run_id=model.source_run_id, new=True)


def _registered(client: MlflowClient, name: str, digest: str) -> Registered | None:
    """Return the newest registered version of this bundle."""
    found = client.search_model_versions(f"name = '{name}'")
    same = [version for version in found if version.tags.get(DIGEST) == digest]
    if not same:
        return None
    newest = max(same, key=lambda version: int(version.version))
    return Registered(name=name, version=int(newest.version), run_id=newest.run_id or None, new=False)


def _run_that_trained(client: MlflowClient, bundle: Bundle) -> Run | None:
    """Return the training run; None if the store does not have it or it was deleted."""
    if (run_id := bundle.content.origin.run_id) is None:
        return None
    try:
        run = client.get_run(run_id)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return None
    return run if run.info.lifecycle_stage == "active" else None


def _tags(bundle: Bundle) -> dict[str, str]:
    return {DIGEST: bundle.digest, CHECKPOINT: bundle.content.origin.checkpoint_sha256}
