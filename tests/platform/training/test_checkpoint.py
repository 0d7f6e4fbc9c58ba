"""Checkpoints: written completely or not at all, read without a pickle, and equal to the model that wrote them."""

import json
import os
import resource
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import torch
import yaml

from forked_commands import run_forked
from polyclinic.training.checkpoint_file import load_checkpoint
from polyclinic.training.checkpoints import AtomicCheckpoints

SUPPORT = Path(__file__).parents[2] / "support"
PULSES = {"first": {"class_path": "pulse_plugin.Pulse"}, "second": {"class_path": "pulse_plugin.Pulse"}}
KILLED = """
import os, signal, sys
import torch
from polyclinic.training import checkpoints

def die(*args, **kwargs):
    os.kill(os.getpid(), signal.SIGKILL)

def half(content, file):
    file.write(b"PK" * 1000)
    file.flush()
    die()

io = checkpoints.AtomicCheckpoints()
io.save_checkpoint({"state_dict": {"weight": torch.ones(2)}}, sys.argv[1])
for place, name, how in ((torch, "save", half), (os, "fsync", die), (checkpoints.Path, "replace", die)):
    if not (child := os.fork()):
        setattr(place, name, how)
        io.save_checkpoint({"state_dict": {"weight": torch.zeros(2)}}, sys.argv[1])
        os._exit(1)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    print(torch.load(sys.argv[1], weights_only=True)["state_dict"]["weight"].tolist())
io.save_checkpoint({"state_dict": {"weight": torch.zeros(2)}}, sys.argv[1])
"""
LOADED = """
import json, sys
from pathlib import Path
import pulse_plugin
import torch
from polyclinic.training.restore import restore

restored = restore(Path(sys.argv[1]))
saved = torch.load(sys.argv[2], weights_only=True)
with torch.no_grad():
    batches = [(batch.study_ids, restored.task(batch)) for batch in restored.data.test_dataloader()]
found = {study: row for ids, rows in batches for study, row in zip(ids, rows, strict=True)}
print(json.dumps([torch.equal(found[study], row) for study, row in zip(saved["ids"], saved["readings"], strict=True)]))
"""


def _python(*words: str, **kwargs: object) -> subprocess.CompletedProcess[str]:
    environment = {"PYTHONPATH": str(SUPPORT), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, *words], capture_output=True, text=True, env={**os.environ, **environment}, **kwargs
    )


def test_a_full_disk_leaves_the_previous_checkpoint_intact(tmp_path: Path) -> None:
    path = tmp_path / "last.ckpt"
    io = AtomicCheckpoints()
    io.save_checkpoint({"state_dict": {"weight": torch.ones(2)}}, path)
    before, limits = path.read_bytes(), resource.getrlimit(resource.RLIMIT_FSIZE)
    for size in (0, 2000, 300_000):
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
        try:
            with pytest.raises(ValueError, match=r"^checkpoint last.ckpt could not be written \(File too large\), the"):
                io.save_checkpoint({"state_dict": {"weight": torch.ones(100_000)}}, path)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert path.read_bytes() == before
        assert list(tmp_path.iterdir()) == [path]


def test_a_kill_while_saving_leaves_the_previous_checkpoint_intact(tmp_path: Path) -> None:
    (tmp_path / "killed.py").write_text(KILLED)
    process = run_forked([str(tmp_path / "killed.py"), str(tmp_path / "last.ckpt")])
    (tmp_path / "killed.py").unlink()
    assert process.returncode == 0, process.stderr
    assert process.stdout.splitlines() == ["[1.0, 1.0]"] * 3
    assert torch.load(tmp_path / "last.ckpt", weights_only=True)["state_dict"]["weight"].tolist() == [0.0, 0.0]
    assert [path.name for path in tmp_path.iterdir()] == ["last.ckpt"]


def _checkpoint_content() -> dict[str, object]:
    weights = {"weight": torch.arange(400.0), "bias": torch.ones(3, dtype=torch.int64)}
    return {"state_dict": weights, "callbacks": {"Provenance": {"config": "model: {}"}}, "epoch": 3}


def _is_same(first: object, second: object) -> bool:
    if isinstance(first, dict) and isinstance(second, dict):
        return list(first) == list(second) and all(_is_same(first[key], second[key]) for key in first)
    if isinstance(first, torch.Tensor) and isinstance(second, torch.Tensor):
        return first.dtype == second.dtype and torch.equal(first, second)
    return type(first) is type(second) and first == second


@pytest.mark.parametrize("sealed", [True, False], ids=["with_checksum", "of_torch_alone"])
def test_a_flipped_bit_is_refused_or_changes_nothing(tmp_path: Path, sealed: bool) -> None:
    path = tmp_path / "last.ckpt"
    if sealed:
        AtomicCheckpoints().save_checkpoint(_checkpoint_content(), path)
    else:
        torch.save(_checkpoint_content(), path)
    content = path.read_bytes()
    assert _is_same(AtomicCheckpoints().load_checkpoint(path), _checkpoint_content())
    refused = 0
    for at in range(0, len(content), 1 if len(content) < 1000 else len(content) // 400):
        changed = bytearray(content)
        changed[at] ^= 1 << (at % 8)
        path.write_bytes(changed)
        try:
            assert _is_same(load_checkpoint(path), _checkpoint_content()), f"byte {at} changed what is read"
        except ValueError as error:
            refused += "last.ckpt is" in str(error)
    assert refused > (390 if sealed else 200)
    if sealed:
        for at in range(len(content) - 93, len(content)):
            changed = bytearray(content)
            changed[at] ^= 1
            path.write_bytes(changed)
            with pytest.raises(ValueError, match="does not match its checksum"):
                load_checkpoint(path)


@pytest.mark.parametrize("cut", [0, 1, 3, 21, 93, 94, 500])
def test_a_truncated_or_compressed_checkpoint_is_refused(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "last.ckpt"
    AtomicCheckpoints().save_checkpoint(_checkpoint_content(), path)
    content = path.read_bytes()
    path.write_bytes(content[:cut])
    with pytest.raises(ValueError, match="is damaged or not a weights-only checkpoint"):
        load_checkpoint(path)
    path.write_bytes(content[: len(content) - cut - 1])
    with pytest.raises(ValueError, match="is damaged or not a weights-only checkpoint"):
        load_checkpoint(path)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", b"0" * 10_000)
    with pytest.raises(ValueError, match="is damaged or not a weights-only checkpoint"):
        load_checkpoint(path)


@pytest.mark.parametrize("culprit", [Path("a/DOE^JOHN"), torch.nn.Linear(1, 1), {"deep": [object()]}])
def test_content_that_only_a_pickle_could_restore_is_refused_when_saved(tmp_path: Path, culprit: object) -> None:
    with pytest.raises(
        ValueError, match=r"^checkpoint last.ckpt would need a pickle to be read .*plain values"
    ) as report:
        AtomicCheckpoints().save_checkpoint({"state_dict": {}, "hyper_parameters": culprit}, tmp_path / "last.ckpt")
    assert "DOE" not in str(report.value)
    assert list(tmp_path.iterdir()) == []


def test_an_unwritable_folder_is_reported_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match=r"^checkpoint last.ckpt could not be written \((File exists|Not a dir)"):
        AtomicCheckpoints().save_checkpoint({"state_dict": {}}, tmp_path / "file" / "last.ckpt")


@pytest.mark.slow
def test_a_checkpoint_of_two_compiled_ranks_predicts_the_same_in_a_fresh_process(
    tmp_path: Path, pulse_cohort: Path
) -> None:
    config = {
        "model": {"class_path": "Downstream", "init_args": {}},
        "data": {"batch_size": 16, "cohort": str(pulse_cohort), "modalities": PULSES},
        "trainer": {
            "accelerator": "cpu", "strategy": "ddp", "devices": 2, "max_epochs": 1, "enable_progress_bar": False,
            "callbacks": [
                {"class_path": "resumable_task.Compiled"},
                {"class_path": "resumable_task.Readings", "init_args": {"file": "readings.pt"}},
            ],
        },
    }  # fmt: skip
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    process = _python("-m", "polyclinic.cli", "fit", "-c", "config.yaml", "--json", "fit.json", cwd=tmp_path)
    assert process.returncode == 0, process.stderr
    path = json.loads((tmp_path / "fit.json").read_text())["checkpoint"]
    content = torch.load(tmp_path / path, weights_only=True)
    assert not [key for key in content["state_dict"] if "_orig_mod" in key or key.startswith("module.")]
    assert len(content["random_states"]) == 2
    process = _python("-c", LOADED, path, "readings.pt", cwd=tmp_path)
    assert process.returncode == 0, process.stderr
    same = json.loads(process.stdout.splitlines()[-1])
    assert len(same) > 3
    assert all(same)
