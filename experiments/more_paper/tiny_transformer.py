"""Write a tiny random BERT with a vocabulary of a cohort's training reports, as a local `transformers` folder.

It replaces a hospital's own language model, so that the recipe runs without a download. The vocabulary is that of the
hospital's reports; the weights are random and not trained.

    python experiments/more_paper/tiny_transformer.py COHORT_YAML OUT_FOLDER
"""

import argparse
import sys
from pathlib import Path

import torch
from transformers import BertConfig, BertModel

from polyclinic.cohort import read_cohort, readable_raws
from polyclinic_report import Report
from polyclinic_report.vocabulary import table_rows, vocabulary_from

MODALITY = "report"
WIDTH, LAYERS, HEADS, POSITIONS = 64, 2, 4, 128


def main() -> int:
    """Write the folder that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cohort", type=Path, help="cohort.yaml with reports")
    parser.add_argument("out", type=Path, help="output folder")
    parser.add_argument("--seed", type=int, default=0, help="random seed of the weights")
    arguments = parser.parse_args()
    write_transformer(arguments.cohort, arguments.out, seed=arguments.seed)
    print(f"a random transformer, not a trained one: {arguments.out}")
    return 0


def write_transformer(cohort: Path, out: Path, *, seed: int = 0) -> None:
    """Write ``tokenizer.json``, ``config.json`` and ``model.safetensors``, deterministically.

    Args:
        cohort: ``cohort.yaml`` file whose training reports give the vocabulary.
        out: output folder; existing files are replaced.
        seed: random seed of the weights.
    """
    report = Report(section="findings")
    report.fit(readable_raws(read_cohort(cohort).split("train"), MODALITY, report))
    tokenizer = report.state()["tokenizer"]
    config = BertConfig(
        vocab_size=table_rows(vocabulary_from(tokenizer)),
        hidden_size=WIDTH,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        intermediate_size=4 * WIDTH,
        max_position_embeddings=POSITIONS,
        pad_token_id=0,
        # The other encoders have no dropout either.
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        BertModel(config).save_pretrained(out)
    (out / "tokenizer.json").write_text(tokenizer, encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
