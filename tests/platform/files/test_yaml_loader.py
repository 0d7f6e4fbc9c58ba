"""Keys are read as written, duplicate keys are refused, and no document can expand without limit."""

from pathlib import Path

import pytest
from jsonargparse import ArgumentParser

from polyclinic.cli import main
from polyclinic.files.yaml_loader import load_yaml, register_loader
from polyclinic.prompts import load_prompts

_BOMB = "a: &a [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{chr(ord(name) - 1)}'] * 10)}]\n" for name in "bcdefgh"
)


def test_keys_and_texts_are_read_as_written() -> None:
    written = "yes: 1\nno: [no, On, 1.0, 1e-4, null, 012]\ntrue: x\n1: y\n1.0: z\n~: w\n"
    assert load_yaml(written, name="f") == {
        "yes": 1, "no": [False, True, 1.0, 1e-4, None, 10], "true": "x", "1": "y", "1.0": "z", "~": "w",
    }  # fmt: skip
    assert load_yaml(written, name="f", as_text=True)["no"] == ["no", "On", "1.0", "1e-4", "null", "012"]


def test_merge_keys_and_aliases_still_work() -> None:
    written = "base: &base {x: 1, y: 2}\nfirst: &first {<<: *base, x: 3}\nsecond: {<<: *first, y: 4}\nthird: *first\n"
    first = {"x": 3, "y": 2}
    expected = {"base": {"x": 1, "y": 2}, "first": first, "second": {"x": 3, "y": 4}, "third": first}
    assert load_yaml(written, name="f") == expected


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("a: 1\nb: 2\na: 3\n", r"f names 'a' twice \(lines 1 and 3\)"),
        ("x:\n  - {yes: 1, 'yes': 2}\n", "names 'yes' twice"),
        ("a: &a {<<: {x: 1}, <<: {x: 2}}\n", "names '<<' twice"),
        ("a: &a [*a]\n", "alias in line 1 that contains itself"),
        (_BOMB, "more than 1,000,000 values"),
        ("[" * 200_000, "nested deeper than 100 levels"),
        ("- " * 200_000, "nested deeper than 100 levels"),
        ("? [1, 2]\n: 3\n", "a list or a mapping as a key in line 1"),
        ("a: [1\n", "f is not YAML: .* in line 2"),
        (b"a: \xff\n", "f is not YAML"),
        ("a: 1\n---\nb: 2\n", "another document"),
        ("a: !!python/object/apply:os.getcwd []\n", "f is not YAML: could not determine a constructor"),
    ],
)
@pytest.mark.parametrize("as_text", [False, True])
def test_ambiguous_documents_are_refused(written: str | bytes, message: str, as_text: bool) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        load_yaml(written, name="f", as_text=as_text)
    assert "\n" not in str(caught.value)


def test_parsers_of_commands_follow_the_same_rules(tmp_path: Path) -> None:
    register_loader()
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--config", action="config")
    parser.add_argument("--names", type=dict[str, float] | str)
    parser.add_argument("--lr", type=float)
    arguments = parser.parse_args(["--names", "{yes: 1, 1: 2}", "--lr", "1e-4"])
    assert (arguments.names, arguments.lr) == ({"yes": 1.0, "1": 2.0}, 1e-4)
    assert [parser.parse_args(["--names", word]).names for word in ("a:", "{a, b}")] == ["a:", "{a, b}"]
    (tmp_path / "twice.yaml").write_text("lr: 1\nlr: 2\n")
    with pytest.raises(Exception, match=r"names 'lr' twice \(lines 1 and 2\)"):
        parser.parse_args(["--config", str(tmp_path / "twice.yaml")])


@pytest.mark.public_report(10)
def test_duplicate_keys_of_prompts_spaces_and_experiments_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sides = "{positive: [There is edema.], negative: [No edema.]}"
    prompts = tmp_path / "prompts.yaml"
    prompts.write_text(
        f"version: 1\nmodality: report\nscore_rule: difference\ntemplates: ['{{}}']\nfindings:\n  edema: {sides}\n"
        f"  edema: {sides}\n"
    )
    with pytest.raises(ValueError, match=r"prompts.yaml names 'edema' twice \(lines 6 and 7\)"):
        load_prompts(prompts)
    experiment = tmp_path / "experiment.yaml"
    experiment.write_text("trainer:\n  max_epochs: 1\ntrainer:\n  accelerator: cpu\n")
    assert main(["fit", "-c", str(experiment)]) == 1
    assert "experiment.yaml names 'trainer' twice (lines 1 and 3)" in capsys.readouterr().err
    space = tmp_path / "space.yaml"
    space.write_text("model.init_args.lr: {low: 1e-4, high: 1e-2}\nmodel.init_args.lr: {choices: [1]}\n")
    assert main(["sweep", "--space", str(space), "-c", "x.yaml"]) == 1
    assert "space.yaml names 'model.init_args.lr' twice (lines 1 and 2)" in capsys.readouterr().err
