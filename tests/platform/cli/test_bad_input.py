"""Bad input of every command: one sentence with what was got and expected, exit code 1, and nothing written."""

import re
import secrets
import shutil
from pathlib import Path

import pytest
import yaml

from cli_runs import PROMPTS, write_config
from polyclinic.cli import COMMANDS, main
from polyclinic.cli.commands import help_text
from polyclinic.cli.completion import options_of
from polyclinic.files.kinds import CHECKPOINT, COHORT, refuse_other_kind
from polyclinic.files.kinds import PROMPTS as PROMPT_FILE
from readonly_folders import read_only

MODEL = {"class_path": "Downstream", "init_args": {"size": "pico"}}
EVERYWHERE = {"--config", "--help", "--log-level", "--quiet"}
PASSED_ON = ("sweep", "crossval")
"""Commands that pass unknown options to every ``fit``."""


@pytest.fixture(autouse=True)
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pulse_cohort: Path) -> Path:
    """Enter a folder with one file of each kind."""
    monkeypatch.chdir(tmp_path)
    spec = yaml.safe_load(pulse_cohort.read_text())
    shutil.copyfile(pulse_cohort.parent / spec["table"], "studies.csv")
    spec |= {"table": "studies.csv", "root": str(pulse_cohort.parent)}
    Path("cohort.yaml").write_text(yaml.safe_dump(spec))
    write_config(Path("cohort.yaml"), MODEL, {"first": {"class_path": "pulse_plugin.Pulse"}})
    Path("prompts.yaml").write_text(PROMPTS)
    Path("best.ckpt").write_bytes(b"PK")
    Path("key").write_text(secrets.token_hex(32))
    Path("key").chmod(0o600)
    Path("tab.yaml").write_text("table: studies.csv\nmodel:\n\tclass_path: Downstream\n")
    Path("twice.yaml").write_text("table: studies.csv\nlabels: [a]\nmodel: Downstream\nlabels: [b]\n")
    for folder in ("bundle", "full"):
        Path(folder).mkdir()
    for name in ("bundle/bundle.json", "bundle/SHA256SUMS", "full/file"):
        Path(name).write_text("{}")
    return tmp_path


def _refused(words: list[str], capfd: pytest.CaptureFixture[str]) -> str:
    """Run a command, and return its sentence; fail if it writes a file or more than a sentence."""
    before = sorted(Path().rglob("*"))
    assert main(words) == 1
    message = capfd.readouterr().err
    assert sorted(Path().rglob("*")) == before
    assert message.startswith("error: ")
    assert message.count("\n") == 1, message
    assert "object at 0x" not in message
    return message


def _positional(name: str) -> list[str]:
    usage = help_text(name).splitlines()[0]
    return [word.lower() for word in re.findall(r" ([A-Z]+)(?= |$)", usage.partition("--")[0])]


def _options(name: str) -> list[str]:
    return [option for option in options_of(name) if option not in EVERYWHERE]


WITH_OPTIONS = [name for name in COMMANDS if _options(name)]


@pytest.mark.parametrize("name", WITH_OPTIONS)
def test_an_option_given_twice_is_refused(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    option = _options(name)[0]
    words = [*name.split(), *(["ptbxl"] if name == "cohort build" else []), f"{option}=1", f"{option}=2"]
    assert "twice, expected it once; remove one of the two" in _refused(words, capfd)


@pytest.mark.parametrize("name", [name for name in WITH_OPTIONS if name not in PASSED_ON])
def test_a_misspelt_option_gets_the_nearest_one(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    option = max((each for each in _options(name) if "." not in each), key=len)
    words = [*name.split(), *(["ptbxl"] if name == "cohort build" else []), f"{option}x=1"]
    message = _refused(words, capfd)
    assert f"got option {option}x, expected perhaps {option}".replace("_", "-") in message.replace("_", "-")


@pytest.mark.parametrize("name", [name for name in COMMANDS if "--json" in options_of(name) and name != "score"])
def test_a_result_that_cannot_be_written_is_refused_first(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    words = [*name.split(), *_positional(name)]
    words += ["-c", "config.yaml"] if name in ("fit", "validate", "test") else []
    words += ["--space", "space.yaml"] if name == "sweep" else ["--key", "key"] if name == "deidentify" else []
    for path, reason in (("cohort.yaml/a.json", "below the file 'cohort.yaml'"), ("full", "a folder")):
        message = _refused([*words, "--json", path], capfd)
        assert f"got {Path(path).name!r}, {reason}, expected a file that can be written; set `--json`" in message


@pytest.mark.parametrize(
    "words",
    [
        ["cohort", "phantom", "{}", "--studies", "20"],
        ["cohort", "build", "ptbxl", "--root", "full", "--out", "{}"],
        ["cohort", "scan", "bundle", "--out", "{}"],
        ["cohort", "ward", "bundle", "--out", "{}"],
        ["predict", "best.ckpt", "{}"],
        ["evaluate", "card", "best.ckpt", "--out", "{}"],
        ["bundle", "export", "best.ckpt", "--out", "{}"],
        ["deidentify", "cohort.yaml", "{}", "--key", "key"],
    ],
)
def test_a_folder_that_cannot_be_filled_is_refused_first(words: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    Path("locked").mkdir()
    for path, reason in (("key", "a file"), ("key/new", "below the file 'key'"), ("full", "which is not empty")):
        message = _refused([word.format(path) for word in words], capfd)
        assert f"got folder {Path(path).name!r}, {reason}" in message
    with read_only(Path("locked").absolute()):
        message = _refused([word.format("locked/new") for word in words], capfd)
    assert "got folder 'new', without permission to write 'locked', expected a folder that can be written" in message


@pytest.mark.parametrize(
    ("words", "setting"),
    [
        (["new", "masked", "cohort.yaml", "--out", "{}"], "--out"),
        (["crossval", "-c", "config.yaml", "--predictions", "{}"], "--predictions"),
        (["evaluate", "linkage", "best.ckpt", "first", "second", "--pairs", "{}"], "--pairs"),
    ],
)
def test_other_files_that_cannot_be_written_are_refused_first(
    words: list[str], setting: str, capfd: pytest.CaptureFixture[str]
) -> None:
    message = _refused([word.format("full") for word in words], capfd)
    assert f"got 'full', a folder, expected a file that can be written; set `{setting}` to another" in message


READERS = {
    COHORT: [
        ["cohort", "check", "{}"],
        ["new", "heads", "{}"],
        ["cohort", "overlap", "cohort.yaml", "{}"],
        ["cohort", "events", "{}"],
        ["deidentify", "{}", "out", "--key", "key"],
        ["fit", "-c", "config.yaml", "--data.cohort", "{}"],
        ["crossval", "-c", "config.yaml", "--data.cohort", "{}"],
    ],
    "a bundle": [["score", "{}"], ["serve", "{}"], ["bundle", "verify", "{}"], ["bundle", "register", "{}"]],
    CHECKPOINT: [
        ["predict", "{}", "out"],
        ["bundle", "export", "{}", "--out", "new"],
        ["evaluate", "zeroshot", "{}", "prompts.yaml"],
        ["evaluate", "retrieval", "{}", "first"],
        ["evaluate", "linkage", "{}", "first", "second"],
        ["evaluate", "classifier", "{}"],
        ["evaluate", "reconstruction", "{}"],
        ["evaluate", "probe", "{}", "first"],
        ["evaluate", "card", "{}"],
        ["fit", "-c", "config.yaml", "--weights", "{}"],
        ["fit", "-c", "config.yaml", "--ckpt_path", "{}"],
        ["validate", "-c", "config.yaml", "--ckpt_path", "{}"],
    ],
    "a configuration of `polyclinic fit`": [
        ["fit", "-c", "{}"],
        ["crossval", "-c", "{}"],
        ["cohort", "check", "cohort.yaml", "--experiment", "{}"],
    ],
    "a search space": [["sweep", "--space", "{}", "-c", "config.yaml"]],
}
HOLDS = {
    "cohort.yaml": COHORT,
    "bundle": "a bundle",
    "bundle/bundle.json": "a file of a bundle, not its folder",
    "best.ckpt": CHECKPOINT,
    "prompts.yaml": PROMPT_FILE,
    "config.yaml": "a configuration of `polyclinic fit`",
    "full": "a folder",
}
CASES = [
    (words, path, kind)
    for kind, commands in READERS.items()
    for words in commands
    for path, held in HOLDS.items()
    if held != kind and not (kind == "a bundle" and path == "full") and not (words[1] == "export" and "json" in path)
]


@pytest.mark.parametrize(("words", "path", "kind"), CASES)
def test_a_file_of_another_kind_is_named(
    words: list[str], path: str, kind: str, capfd: pytest.CaptureFixture[str]
) -> None:
    message = _refused([word.format(path) for word in words], capfd)
    assert f"error: got {Path(path).name!r}, which is {HOLDS[path]}, expected {kind}; " in message


def test_the_report_of_folds_and_a_prompt_file_are_recognised(capfd: pytest.CaptureFixture[str]) -> None:
    message = _refused(["bundle", "export", "bundle/bundle.json", "--out", "new"], capfd)
    assert "is a file of a bundle, not its folder, expected a report of `polyclinic crossval`" in message
    with pytest.raises(ValueError, match=r"got 'cohort.yaml', which is a cohort file, expected a prompt file"):
        refuse_other_kind(Path("cohort.yaml"), PROMPT_FILE, "name one")


@pytest.mark.parametrize(
    "words",
    [
        ["fit", "-c", "{}"],
        ["fit", "--config={}"],
        ["validate", "-c", "{}"],
        ["crossval", "-c", "{}"],
        ["sweep", "--space", "{}", "-c", "config.yaml"],
        ["cohort", "check", "{}"],
        ["cohort", "check", "cohort.yaml", "--config", "{}"],
        ["cohort", "check", "cohort.yaml", "--experiment", "{}"],
        ["evaluate", "classifier", "best.ckpt", "--config", "{}"],
        ["new", "masked", "{}"],
        ["deidentify", "{}", "out", "--key", "key"],
        ["fit", "-c", "config.yaml", "--data.cohort", "{}"],
    ],
)
def test_a_fault_of_a_yaml_file_names_its_line(words: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    message = _refused([word.format("tab.yaml") for word in words], capfd)
    assert "tab.yaml has a tab in line 3, expected spaces; indent with spaces" in message
    message = _refused([word.format("twice.yaml") for word in words], capfd)
    assert "twice.yaml names 'labels' twice (lines 2 and 4); keep one of them" in message


FIT = ["fit", "-c", "config.yaml"]
PLUGINS = "--data.modalities.first"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["cohort", "build", "ptbxll"], "got data set 'ptbxll', expected perhaps ptbxl"),
        (["cohort", "phantom", "new", "--modalities", "[xrayy]"], "got plugin 'xrayy', expected perhaps xray"),
        (["new", "maskd", "cohort.yaml"], "got kind 'maskd', expected perhaps masked"),
        (["completion", "fsh"], "got shell 'fsh', expected perhaps fish"),
        ([*FIT, "--data.labels", "[anemi]"], "got label 'anemi', expected perhaps anemia"),
        ([*FIT, "--data.modalities.frist", "pulse_plugin.Pulse"], "got modality 'frist', expected perhaps first"),
        ([*FIT, PLUGINS, "Tabula"], "names plugin 'Tabula', expected perhaps Tabular"),
        (
            [*FIT, PLUGINS, "polyclinic_xray.XRai"],
            "class 'polyclinic_xray.XRai' for `data.modalities`, expected perhaps XRay",
        ),
        (
            [*FIT, "--data.modalities.xray", "XRay", "--data.modalities.xray.init_args.siz", "3"],
            "got setting 'siz' of XRay, expected perhaps size",
        ),
        (
            [*FIT, "--data.order", "StratifedOrder"],
            "got class 'StratifedOrder' for `data.order`, expected perhaps Stratified",
        ),
        (
            [*FIT, "--model.init_args.fusion", "AtentionFusion"],
            "got class 'AtentionFusion' for `fusion`, expected perhaps",
        ),
        (
            [*FIT, "--trainer.strategy", "ddp_fork", "--trainer.devices", "2"],
            "got a `trainer.strategy` that forks or spawns ranks, whose results do not reach the command; set",
        ),
        ([*FIT, "--model.init_args.adapter", "Frozn"], "got class 'Frozn' for `adapter`, expected perhaps Frozen"),
        (
            [*FIT, "--model.init_args.encoders.first", "polyclinic_xray.timm_encoder.TimEncoder"],
            "expected perhaps polyclinic_xray.timm_encoder.TimmEncoder",
        ),
        (
            [*FIT, "--model.init_args.encoders.first", "TimmEncodr"],
            "expected perhaps polyclinic_xray.timm_encoder.TimmEn",
        ),
        (
            [*FIT, "--trainer.logger", "CSVLoger"],
            "got class 'CSVLoger' for `trainer.logger`, expected perhaps CSVLogger",
        ),
        (
            [*FIT, "--trainer.callbacks+=EarlyStoping"],
            "got class 'EarlyStoping' for `trainer.callbacks`, expected perhaps",
        ),
        (
            [*FIT, "--best.mode", "maximum"],
            "got best.mode 'maximum', expected perhaps max (one of ['min', 'max']); set `best.mode`",
        ),
        ([*FIT, "--best.patiense", "3"], "expected perhaps --best.patience"),
        (
            ["fit", "--model.lr", "3"],
            "got setting 'lr' without a model, expected one of ['ContrastivePretraining', 'Downstream', 'MaskedPr",
        ),
        (["fit"], "got no data.cohort, data.modalities, model; set them in a configuration, which `polyclinic new`"),
    ],
)
def test_an_unknown_name_gets_the_nearest_ones(
    words: list[str], message: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert message in _refused(words, capfd)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        (
            "study_id",
            "study",
            "`study_id` names column 'study', which studies.csv does not have, expected perhaps study_id",
        ),
        (
            "labels",
            ["anemiaa"],
            "`labels.anemiaa` names column 'anemiaa', which studies.csv does not have, expected perhaps",
        ),
        ("groups", ["sitee"], "expected perhaps site"),
        ("where", "sexx == 'F'", "`where` names column 'sexx', which studies.csv does not have, expected perhaps sex"),
        ("lables", ["anemia"], "got key of cohort.yaml 'lables', expected perhaps labels"),
        ("split", {"leave_out": "sight"}, "got split.leave_out 'sight', expected perhaps site"),
    ],
)
def test_an_unknown_column_gets_the_nearest_ones(
    key: str, value: object, message: str, capfd: pytest.CaptureFixture[str]
) -> None:
    Path("cohort.yaml").write_text(yaml.safe_dump(yaml.safe_load(Path("cohort.yaml").read_text()) | {key: value}))
    assert message in _refused(["cohort", "check", "cohort.yaml", "--experiment", "config.yaml"], capfd)
