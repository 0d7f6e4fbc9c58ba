"""One spelling of options, flags without a value, arguments by place or name, and messages that name the nearest."""

from argparse import ArgumentError
from pathlib import Path
from typing import Literal

import pytest
from jsonargparse import ArgumentParser

from polyclinic.cli.options import run_command
from polyclinic.cli.parser import spelled, with_underscores

seen: list[tuple[object, ...]] = []


def measure(
    checkpoint: Path,
    prompts: Path,
    resamples: int = 10,
    allow_overlap: bool = False,
    baseline: bool = True,
    kind: Literal["all", "few"] = "all",
    k: tuple[int, ...] = (1, 5),
    out_file: Path | None = None,
) -> None:
    """Measure a checkpoint: polyclinic measure last.ckpt prompts.yaml

    A second paragraph with ``code``.

    Args:
        checkpoint: checkpoint to measure.
        prompts: prompt file.
        resamples: number of resamples.
        allow_overlap: whether to include studies from training.
        baseline: whether to compare with simple models.
        kind: kind of report.
        k: cut-offs.
        out_file: file for the report.
    """
    seen.append((checkpoint.name, prompts.name, resamples, allow_overlap, baseline))


def run(*words: str) -> tuple[object, ...]:
    seen.clear()
    run_command(measure, words, prog="polyclinic measure")
    return seen[0]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["a", "b"], ("a", "b", 10, False, True)),
        (["--resamples", "3", "a", "b"], ("a", "b", 3, False, True)),
        (["a", "--allow-overlap", "b"], ("a", "b", 10, True, True)),
        (["a", "b", "--allow_overlap"], ("a", "b", 10, True, True)),
        (["--allow_overlap", "false", "a", "b"], ("a", "b", 10, False, True)),
        (["a", "b", "--allow-overlap=true", "--no-baseline"], ("a", "b", 10, True, False)),
        (["--baseline", "False", "a", "b"], ("a", "b", 10, False, False)),
        (["--prompts", "b", "a"], ("a", "b", 10, False, True)),
        (["b", "--checkpoint=a"], ("a", "b", 10, False, True)),
    ],
)
def test_words_have_one_meaning_in_any_order(words: list[str], expected: tuple[object, ...]) -> None:
    assert run(*words) == expected


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["a", "b", "--resample", "3"], "got option --resample, expected perhaps --resamples"),
        (["a", "b", "--check-point", "3"], "got option --check-point, expected perhaps --checkpoint"),
        (["a", "b", "--zzz"], "got option --zzz; see polyclinic measure --help"),
        (["a", "b", "--resamples", "3", "--resamples=4"], "got option --resamples twice"),
        (["a", "b", "--allow-overlap", "--allow_overlap"], "got option --allow_overlap twice"),
        (["a", "b", "--baseline", "--no-baseline"], "got option --no-baseline twice"),
        (["a", "b", "--resamples"], "got option --resamples without a value"),
        (["a", "b", "--out-file", "--allow-overlap"], "got option --out-file without a value"),
        (["a"], "got no PROMPTS, expected it after polyclinic measure"),
        (["a", "b", "c"], "got 'c', expected options after CHECKPOINT PROMPTS"),
        (["a", "b", "--resamples="], "resamples"),
        (["a", "b", "--prompts=c"], "got 'b', expected options"),
    ],
)
def test_wrong_words_are_refused_in_one_sentence(words: list[str], message: str) -> None:
    with pytest.raises((ValueError, ArgumentError)) as error:
        run(*words)
    assert message in str(error.value)
    assert not seen


def test_the_help_shows_usage_arguments_defaults_and_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run("a", "--help")
    assert capsys.readouterr().out == (
        "usage: polyclinic measure CHECKPOINT PROMPTS [options]\n\n"
        "Measure a checkpoint.\n\n"
        "A second paragraph with `code`.\n\n"
        "  CHECKPOINT            checkpoint to measure\n"
        "  PROMPTS               prompt file\n\n"
        "  --resamples N         number of resamples (default: 10)\n"
        "  --allow-overlap       include studies from training\n"
        "  --[no-]baseline       compare with simple models\n"
        "  --kind all|few        kind of report (default: all)\n"
        "  --k LIST              cut-offs (default: [1, 5])\n"
        "  --out-file PATH       file for the report\n\n"
        "example: polyclinic measure last.ckpt prompts.yaml\n"
    )


def test_a_configuration_file_may_hold_the_arguments(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("checkpoint: a\nprompts: b\nresamples: 2\n")
    assert run("--config", str(tmp_path / "c.yaml"), "--no-baseline") == ("a", "b", 2, False, False)


def test_an_empty_value_is_a_value() -> None:
    parser = ArgumentParser(prog="polyclinic fit")
    parser.add_argument("--patients", type=str)
    assert spelled(parser, ["--patients", ""]) == spelled(parser, ["--patients="]) == ["--patients="]


def test_dotted_settings_take_dashes_and_flags() -> None:
    parser = ArgumentParser(prog="polyclinic fit")
    parser.add_argument("--trainer.max_epochs", type=int)
    parser.add_argument("--model", type=str)
    parser.add_argument("--new_run", type=bool, default=False)
    parser.add_argument("-c", "--config", action="config")
    words = ["-c", "a.yaml", "--trainer.max-epochs", "-1", "--new-run", "--model.init-args.lr=3", "--model.help", "x-y"]
    assert with_underscores(words, parser) == [
        "-c", "a.yaml", "--trainer.max_epochs", "-1", "--new_run=true", "--model.init_args.lr=3", "--model.help", "x-y",
    ]  # fmt: skip
    with pytest.raises(ValueError, match=r"got option --trainer\.max_epoch, expected perhaps --trainer\.max_epochs"):
        with_underscores(["--trainer.max-epoch", "3"], parser)
