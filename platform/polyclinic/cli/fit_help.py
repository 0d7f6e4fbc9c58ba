"""The help of ``polyclinic fit | validate | test``: what matters first; all settings by ``--help-all``."""

from polyclinic.cli.parser import entry

OPTIONS: dict[str, dict[str, str]] = {
    "what to train": {
        "-c, --config FILE": "YAML file with any of these settings; options on the command line win",
        "--model NAME": "ContrastivePretraining, MaskedPretraining or Downstream; `--model.help NAME` lists settings",
        "--model.init_args.NAME VALUE": "setting of the task, such as `--model.init_args.lr 3e-4`",
        "--weights CHECKPOINT": "start the encoders from another run",
    },
    "data": {
        "--data.cohort FILE": "cohort.yaml",
        "--data.modalities.NAME PLUGIN": "plugin of a modality, such as ECG; `polyclinic modalities` lists them",
        "--data.labels LIST": "labels to train; all of the cohort unless set",
        "--data.label_policy.blank VALUE": "meaning of an empty label cell, `zero` or `ignore`",
        "--data.batch_size N": "studies per step; chosen from the size of the cohort unless set",
        "--data.prepared FOLDER": "cache of prepared files; `null` for none",
        "--data.fold N": "fold that is tested, of a cohort with folds",
    },
    "training": {
        "--trainer.max_epochs N": "chosen from the size of the cohort unless set",
        "--trainer.accelerator NAME": "`auto`, `cpu` or `gpu`",
        "--trainer.devices N": "processes, such as the number of GPUs",
        "--average.decay X": "validate and keep a moving average of the weights, such as 0.98",
        "--seed_everything N": "seed of everything random",
    },
    "run": {
        "--ckpt_path CHECKPOINT": "continue this run, or measure this checkpoint",
        "--new_run": "continue a checkpoint in a new run",
        "--allow_overlap": "accept studies that the initial weights were trained on",
        "--json FILE": "file for the checkpoint, the run and the seconds",
        "--print_config": "print the configuration and stop",
        "--help-all": "list every setting",
    },
}
_SUMMARIES = {
    "fit": "Train a task on a cohort.",
    "validate": "Run the validation of a checkpoint.",
    "test": "Test a checkpoint of masked pretraining; for others, see `polyclinic evaluate`.",
}
_EXAMPLES = {
    "fit": "-c demo/symile.yaml --data.cohort demo/cohort/cohort.yaml",
    "validate": "-c demo/symile.yaml --ckpt_path last.ckpt",
    "test": "-c masked.yaml --ckpt_path last.ckpt",
}


def fit_help(command: str) -> str:
    """Return the help of ``fit``, ``validate`` or ``test``."""
    groups = [
        f"{title}:\n" + "\n".join(entry(name, text) for name, text in options.items())
        for title, options in OPTIONS.items()
    ]
    prog = f"polyclinic {command}"
    blocks = [f"usage: {prog} [-c FILE] [options]", _SUMMARIES[command], *groups]
    return "\n\n".join([*blocks, f"example: {prog} {_EXAMPLES[command]}"]) + "\n"
