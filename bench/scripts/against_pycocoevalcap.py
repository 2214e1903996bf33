"""coco@1 against pycocoevalcap's own evaluation: its PTBTokenizer and its four scorers.

`python -m bench.scripts.against_pycocoevalcap 200 1000 4000` makes a file of that many pairs each
(from the embedded synthetic reports, with empty, repeated and one-word reports, quotes, numbers and
line breaks), scores it both ways and prints the largest difference.
"""

from __future__ import annotations

import os
import random
import sys
import tempfile
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from bench.data.synthetic import load
from bench.metrics import own_references
from bench.metrics.java import find_java
from bench.metrics.references import COCO

SCORERS = {
    "BLEU": ("pycocoevalcap.bleu.bleu", "Bleu"),
    "ROUGE-L": ("pycocoevalcap.rouge.rouge", "Rouge"),
    "CIDEr": ("pycocoevalcap.cider.cider", "Cider"),
    "METEOR": ("pycocoevalcap.meteor.meteor", "Meteor"),
}
# Turns of real reports that a tokenizer could read in more than one way.
_TURNS = (
    "Stable.", "", " ", "XXXX", "Dr. Smith was told at 5 p.m.", "No change (vs. prior); 5.3 cm.",
    "1. Clear.\n2. Normal.", 'so-called "scar" of the patient\'s lung', "T12 x-ray AP/PA e.g. 50%",
    "Heart size normal...", "can't exclude effusion -- correlate", "naïve <unk> & | ~",
)  # fmt: skip


def pairs(count: int, seed: int = 0) -> tuple[list[str], list[str]]:
    """Predictions and references, of which a part is empty, repeated, of one word, or odd."""
    reports = [s.report for s in load(train=300, val=1, test=1, size=32).split("train")]
    rng = random.Random(seed)
    predictions, references = [], []
    for _ in range(count):
        said, true = rng.choice(reports), rng.choice(reports)
        draw = rng.random()
        if draw < 0.1:
            said = f"{true} {rng.choice(_TURNS)}"
        elif draw < 0.25:
            said = rng.choice(_TURNS)
        elif draw < 0.45:
            said = reports[0]  # the report that many models write for everyone
        predictions.append(said)
        references.append(f"{true} {rng.choice(_TURNS)}" if rng.random() < 0.1 else true)
    return predictions, references


def theirs(
    predictions: Sequence[str], references: Sequence[str], names: Sequence[str]
) -> dict[str, float]:
    """pycocoevalcap's scores. Its tokenizer writes beside its source, and needs `java` on PATH."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "java").symlink_to(find_java())
        os.environ["PATH"] = f"{folder}{os.pathsep}{os.environ['PATH']}"
        sides = [_tokens(predictions), _tokens(references)]
        return {k: v for name in names for k, v in _scores(name, *sides).items()}


def _tokens(texts: Sequence[str]) -> dict[int, list[str]]:
    module = import_module("pycocoevalcap.tokenizer.ptbtokenizer")
    found: dict[int, list[str]] = module.PTBTokenizer().tokenize(
        {i: [{"caption": text}] for i, text in enumerate(texts)}
    )
    return found


def _scores(name: str, predictions: Any, references: Any) -> dict[str, float]:
    module, scorer = SCORERS[name]
    made = getattr(import_module(module), scorer)()
    options = {"verbose": 0} if name == "BLEU" else {}
    value, _ = made.compute_score(references, predictions, **options)
    if name == "BLEU":
        return {f"BLEU-{n}": float(v) for n, v in enumerate(value, start=1)}
    return {name: float(value)}


def differences(count: int, names: Sequence[str] = tuple(SCORERS)) -> dict[str, float]:
    """Score -> how far coco@1 is from pycocoevalcap on `count` pairs."""
    made, truth = pairs(count, seed=count)
    ours = own_references.score(made, truth, metrics=names, treatments=[COCO])
    found = theirs(made, truth, names)
    return {name: abs(ours.value(name, COCO) - value) for name, value in found.items()}


def main(arguments: Sequence[str]) -> None:
    """Print the differences on a file of each size."""
    for count in map(int, arguments or ("200", "1000", "4000")):
        found = differences(count)
        shown = ", ".join(f"{name} {value:.1e}" for name, value in found.items())
        print(f"{count} pairs: {shown}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
