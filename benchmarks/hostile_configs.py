"""Altered configurations of bundles and checkpoints, each of which must work or be refused, without an import."""

import json
import math
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import chdir, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import torch
import yaml

from benchmarks.measure import Figure
from polyclinic.cli import main
from polyclinic.deploy.bundle.files import CONTENT, SUMS
from polyclinic.deploy.bundle.verification import verified_bundle
from polyclinic.files.digest import file_sha256
from polyclinic.models.class_table import modality_points
from polyclinic.training.checkpoint_file import load_checkpoint
from polyclinic.training.checkpoints import AtomicCheckpoints
from polyclinic.training.restore import restore

COMMAND = "python -m benchmarks hostile_configs"
MUTATIONS = 5000

_MODULES = ("this.X", "antigravity", "antigravity.fly", "idlelib.run.main", "turtledemo.clock.main", "timm_evil.Run")
_CLASSES = (
    "os.system", "subprocess.Popen", "builtins.eval", "importlib.import_module", "runpy.run_path", "torch.load",
    "torch.nn.Linear", "torch.hub.load", "lightning.pytorch.Trainer", "polyclinic.cli.main",
    "polyclinic.training.restore.build", "polyclinic.tracking.RunLogger", "polyclinic.cli.sweep.main",
    "polyclinic_xray.reading.burned_in.X", "polyclinic.nn.Encoder", "polyclinic.nn.TransformerEncoder",
    "polyclinic.objectives.Objective", "pickle.loads", "",  ".", "..", "a..b",
    "polyclinic.objectives.Clip", "polyclinic.objectives.Siglip", "polyclinic.objectives.WithTerms",
    "polyclinic.objectives.ReliabilityGate", "polyclinic.nn.ConcatenationFusion", "polyclinic_ecg.ResNet1dEncoder",
    "polyclinic_report.NgramEncoder", "polyclinic_tabular.MLPEncoder", "polyclinic_xray.XRay", "polyclinic_ecg.ECG",
    "polyclinic.tasks.Downstream", "polyclinic.tasks.MaskedPretraining", "polyclinic.data.StratifiedOrder",
    "Clip", "Symile",
)  # fmt: skip
_VALUES: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 2, 7, 10**6, 10**9, 2**63, 10**30, -(10**30), 0.5, 1.5, -0.0, 1e-300, 1e300,
    math.nan, math.inf, -math.inf, "", "x", "0", "1e3", "NaN", "null", "/etc/passwd", "../../secret", "\x1b[31mred",
    "a\nb", "\u202egpj", "\0", "é" * 600, "A" * 30_000, [], {}, [[]], {"": ""}, [1, "a", None],
    {"class_path": "this.X"}, {"class_path": "polyclinic.objectives.Clip"}, {"init_args": {}}, "this.X",
)  # fmt: skip
_KEYS = ("class_path", "init_args", "dict_kwargs", "__class__", "config", "help", "settings", "weights", "folder", "x")
_YAML = (
    "!!python/object/apply:os.system ['true']", "!!python/name:this.X", "!!python/module:antigravity", "&a [*a]",
    "{<<: {class_path: this.X}}", "2020-01-01", "!!binary aGk=", "!!set {a, b}", "0o17", "1_000", ".inf", "[" * 3000,
)  # fmt: skip
_JSON = ('"', "{", "]", "NaN", "1e999", "[" * 3000)


@dataclass
class Outcome:
    """The outcomes of altered configurations.

    Attributes:
        ends: numbers of those that were refused, worked, or ended otherwise.
        imports: imported modules of classes outside the table.
        tracebacks: failures without a one-sentence message.
    """

    ends: Counter[str] = field(default_factory=Counter)
    imports: list[str] = field(default_factory=list)
    tracebacks: list[str] = field(default_factory=list)


def measure(mutations: int = MUTATIONS) -> list[Figure]:
    """Train and export a small classifier, then alter both configurations."""
    with tempfile.TemporaryDirectory() as folder, chdir(folder):
        checkpoint, bundle = _made(Path(folder))
        outcome = fuzz(bundle, checkpoint, mutations=mutations, seed=0)
    sys.stdout.write(f"{dict(outcome.ends)}\n")
    for line in [*outcome.imports[:5], *outcome.tracebacks[:5]]:
        sys.stdout.write(f"{line}\n")
    none: dict[str, Any] = {"goal": 0.0, "at_most": True, "command": COMMAND}
    return [
        Figure(name="bundle.imports", value=len(outcome.imports), unit=f"of {mutations}", **none),
        Figure(name="bundle.tracebacks", value=len(outcome.tracebacks), unit=f"of {mutations}", **none),
    ]


def fuzz(bundle: Path, checkpoint: Path, *, mutations: int, seed: int) -> Outcome:
    """Alter the configurations of a bundle and of a checkpoint in turns.

    Args:
        bundle: intact bundle.
        checkpoint: intact checkpoint, whose cohort exists.
        mutations: total number of mutations.
        seed: seed of the mutations.
    """
    outcome = Outcome()
    with tempfile.TemporaryDirectory() as folder:
        of_bundle = _bundle_runner(bundle, Path(folder) / "bundle")
        of_checkpoint = _checkpoint_runner(checkpoint, Path(folder) / "run.ckpt")
        # Run both unchanged first, so that their imports are done before the watch begins.
        of_bundle(lambda text: text)
        of_checkpoint(lambda text: text)
        with _watched() as imported:
            for number in range(mutations):
                run, text_of = ((of_bundle, _as_json), (of_checkpoint, _as_yaml))[number % 2]
                random = Random(f"{seed} {number}")
                end, problem = _end(run, partial(_altered, text_of=text_of, random=random))
                outcome.ends[end] += 1
                if problem:
                    outcome.tracebacks.append(f"mutation {number}: {problem}")
                if imported:
                    outcome.imports += [f"mutation {number}: {name}" for name in imported]
                    imported.clear()
    return outcome


def _end(run: Callable[[Callable[[str], str]], None], alter: Callable[[str], str]) -> tuple[str, str]:
    """Return how the run ended, and the fault of its message, if any."""
    try:
        run(alter)
    except ValueError as error:
        message = str(error)
        is_unusable = "\x1b" in message or "\n" in message or len(message) > 1000
        return "refused", f"{type(error).__name__} that is not a sentence: {message[:200]!r}" if is_unusable else ""
    except Exception as error:
        return "otherwise", f"{type(error).__name__}: {error}"[:300]
    return "worked", ""


def _bundle_runner(bundle: Path, copy: Path) -> Callable[[Callable[[str], str]], None]:
    shutil.copytree(bundle, copy)
    original = (bundle / CONTENT).read_text(encoding="utf-8")
    names = sorted(path.name for path in bundle.iterdir() if path.name != SUMS)
    digests = {name: file_sha256(bundle / name) for name in names}

    def run(alter: Callable[[str], str]) -> None:
        (copy / CONTENT).write_text(alter(original), encoding="utf-8", errors="surrogatepass")
        digests[CONTENT] = file_sha256(copy / CONTENT)
        (copy / SUMS).write_text("".join(f"{digests[name]}  {name}\n" for name in names), encoding="utf-8")
        verified_bundle(copy)

    return run


def _checkpoint_runner(checkpoint: Path, copy: Path) -> Callable[[Callable[[str], str]], None]:
    content = load_checkpoint(checkpoint)
    reduced = {key: content[key] for key in ("state_dict", "callbacks", "CohortDataModule")}
    record = reduced["callbacks"]["Provenance"]
    config = yaml.safe_load(record["config"])
    text = yaml.safe_dump({key: config[key] for key in ("model", "data")}, sort_keys=False)

    def run(alter: Callable[[str], str]) -> None:
        record["config"] = alter(text)
        AtomicCheckpoints().save_checkpoint(reduced, copy)
        restore(copy)

    return run


def _altered(text: str, text_of: Callable[[Any], str], random: Random) -> str:
    """Return the text with one to three changes of its values, or of its characters."""
    if random.random() < 0.1:
        return _altered_text(text, text_of, random)
    tree = json.loads(text) if text_of is _as_json else yaml.safe_load(text)
    for _ in range(random.randint(1, 3)):
        places = list(_places(tree))
        if places:
            _change(*random.choice(places), tree, random)
    return text_of(tree)


def _altered_text(text: str, text_of: Callable[[Any], str], random: Random) -> str:
    start = random.randrange(len(text))
    stop = min(len(text), start + random.randint(0, 20))
    inserted = random.choice(_YAML if text_of is _as_yaml else _JSON)
    return text[:start] + inserted + text[stop:]


def _change(parent: Any, key: Any, tree: Any, random: Random) -> None:
    kind = random.randrange(7)
    if kind == 0:
        parent[key] = random.choice(_VALUES)
    elif kind == 1:
        parent[key] = random.choice((*_MODULES, *_CLASSES))
    elif kind == 2:
        del parent[key]
    elif kind == 3 and isinstance(parent, dict):
        parent[random.choice((*_KEYS, *_MODULES))] = random.choice((*_VALUES, parent[key]))
    elif kind == 4:
        parent[key] = (
            [parent[key]]
            if random.random() < 0.5
            else {"class_path": random.choice(_CLASSES), "init_args": parent[key]}
        )
    elif kind == 5:
        parent[key] = json.loads(json.dumps(random.choice(list(_values(tree)))))
    else:
        deep: Any = parent[key]
        for _ in range(random.choice((2, 20, 90))):
            deep = {"objective": deep}
        parent[key] = deep


def _places(tree: Any) -> Iterator[tuple[Any, Any]]:
    """Yield container and key of every entry, except inside tokenizers and after the fourth element of a list."""
    if isinstance(tree, dict | list):
        keys = list(tree) if isinstance(tree, dict) else range(min(len(tree), 4))
        for key in keys:
            yield tree, key
            if key != "tokenizer":
                yield from _places(tree[key])


def _values(tree: Any) -> Iterator[Any]:
    return (parent[key] for parent, key in _places(tree))


def _as_json(tree: Any) -> str:
    return json.dumps(tree)


def _as_yaml(tree: Any) -> str:
    return yaml.safe_dump(tree, sort_keys=False)


_heard: list[str] | None = None
_known: frozenset[str] = frozenset()
_packages: set[str] = set()


def _hear(event: str, arguments: Sequence[Any]) -> None:
    if event == "import" and _heard is not None:
        name = str(arguments[0])
        if name not in _known and name.partition(".")[0] not in _packages:
            _heard.append(name)


@contextmanager
def _watched() -> Iterator[list[str]]:
    """Collect the modules that are imported in the block, except those of the platform and its plugins."""
    global _heard, _known, _packages
    _packages = {"polyclinic", *(point.module.partition(".")[0] for point in modality_points())}
    _known, _heard = frozenset(sys.modules), []
    sys.addaudithook(_hear)
    try:
        yield _heard
    finally:
        _heard = None


def _made(folder: Path) -> tuple[Path, Path]:
    """Train a few epochs on phantoms, and return the checkpoint and its bundle."""
    torch.set_num_threads(1)
    modalities = {
        "xray": {"class_path": "XRay", "init_args": {"size": 32, "patch": 8}},
        "ecg": {"class_path": "ECG", "init_args": {"rate": 50, "seconds": 4, "patch": 20}},
        "report": {"class_path": "Report", "init_args": {"vocabulary_size": 400, "max_tokens": 512}},
        "tabular": {"class_path": "Tabular"},
    }
    terms = {"shape": {"class_path": "AlignmentUniformity", "init_args": {"weight": 0.1}}}
    model = {
        "class_path": "ContrastivePretraining",
        "init_args": {
            "objective": {
                "class_path": "WithTerms",
                "init_args": {"objective": {"class_path": "Symile", "init_args": {"tile": 64}}, "terms": terms},
            },
            "encoders": {"report": {"class_path": "polyclinic_report.NgramEncoder", "init_args": {"width": 32}}},
            "embedding": 16, "size": "pico", "random_subsets": 2, "hub": "report",
        },
    }  # fmt: skip
    prompts = {
        "version": 1, "modality": "report", "score_rule": "softmax", "templates": ["{}"],
        "findings": {"cardiomegaly": {"positive": ["cardiomegaly"], "negative": ["the heart is of normal size"]}},
    }  # fmt: skip
    trainer = {"accelerator": "cpu", "max_epochs": 1, "enable_progress_bar": False, "enable_model_summary": False}
    data = {"cohort": "cohort/cohort.yaml", "modalities": modalities, "batch_size": 16}
    Path("prompts.yaml").write_text(yaml.safe_dump(prompts), encoding="utf-8")
    Path("config.yaml").write_text(yaml.safe_dump({"model": model, "data": data, "trainer": trainer}), encoding="utf-8")
    words = (
        ["cohort", "phantom", "cohort", "--studies", "120"],
        ["fit", "-c", "config.yaml", "--json", "fit.json"],
    )
    for line in words:
        _run(*line)
    checkpoint = Path(json.loads(Path("fit.json").read_text(encoding="utf-8"))["checkpoint"])
    _run("bundle", "export", str(checkpoint), "--prompts", "prompts.yaml", "--out", "bundle")
    return folder / checkpoint, folder / "bundle"


def _run(*words: str) -> None:
    if main(list(words)):
        raise RuntimeError(f"polyclinic {' '.join(words[:2])} failed")
