"""Metric families by name. Nothing is imported before it is asked for.

To add one: a class on `bench.metrics.base.Metric`, a line here, golden values in a test. One of a
package of one's own is a file `metric/NAME.yaml` in a folder of $BENCH_CONF with the fields of
`Family`. Tables, comparisons and default scores follow from that line.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from pathlib import Path

from bench.canonical import from_dict
from bench.config import METRIC, files, load_yaml
from bench.errors import BenchError, MissingError, unknown
from bench.metrics.base import Metric

LANGUAGE, CLINICAL = "language", "clinical"
ALWAYS, EXPECTED, HERE = "always", "expected", "here"


@dataclass(frozen=True)
class Family:
    """A family of scores: where its class is, when it is computed, and what tables show of it.

    kind: "language" (paper tables; computed for shuffled images too), "clinical" (the tables
        beside them), or "" (scores.csv and scores.json only).
    scored: "always", "expected" (with weights; said where they are missing), "here" (where its
        weights are), or "asked".
    columns: scores that tables show -> their headings ("": the score's name).
    compared: those of them that rows are tested on and that are drawn.
    """

    target: str  # package.module.Class
    kind: str = ""
    scored: str = "asked"
    columns: Mapping[str, str] = field(default_factory=dict)
    compared: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for key, value, known in (
            ("kind", self.kind, (LANGUAGE, CLINICAL, "")),
            ("scored", self.scored, (ALWAYS, EXPECTED, HERE, "asked")),
            *(("compared", score, tuple(self.columns)) for score in self.compared),
        ):
            if value not in known:
                raise unknown(f"{key} of metric {self.target}", value, known)


def _language(target: str, *scores: str) -> Family:
    """A metric of the paper tables; rows are compared on the last of its scores."""
    columns = dict.fromkeys(scores, "")
    return Family(f"bench.metrics.{target}", LANGUAGE, ALWAYS, columns, scores[-1:])


_AVERAGES = {
    "F1-micro-14": "micro-F1, 14",
    "F1-macro-14": "macro-F1, 14",
    "F1-micro-5": "micro-F1, 5",
    "F1-example-14": "example F1, 14",
}
_PARTIAL = {"F1-partial": "F1, partial"}


def _clinical(
    target: str, scored: str, title: str, family: str, shown: Mapping[str, str]
) -> Family:
    columns = {f"{title}-{score}": f"{family} {head}" for score, head in shown.items()}
    return Family(f"bench.metrics.clinical.{target}", CLINICAL, scored, columns)


def _preset(target: str) -> Family:
    """Another convention of a labeler, computed when it is asked for."""
    return Family(f"bench.metrics.clinical.{target}", CLINICAL)


# A family's scores are named after it (but for case): "BLEU" gives "BLEU-1" to "BLEU-4". Of
# CheXbert's presets only the default is computed unasked: they share weights and labels.
FAMILIES: dict[str, Family] = {
    "BLEU": _language("bleu.BLEU", "BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4"),
    "METEOR": _language("meteor.METEOR", "METEOR"),
    "ROUGE-L": _language("rouge.RougeL", "ROUGE-L"),
    "CIDEr": _language("cider.CIDEr", "CIDEr"),
    "ROUGE": Family("bench.metrics.rouge_n.RougeN"),  # ROUGE-1, ROUGE-2
    "alignment": Family("bench.metrics.alignment.Alignment"),
    "alignment-control": Family("bench.metrics.alignment.AlignmentControl"),
    "attention-box": Family("bench.metrics.attention.AttentionBox"),
    "image-information": Family("bench.metrics.image_information.ImageInformation"),
    "image-information-within": Family("bench.metrics.image_information.WithinLabels"),
    "image-attribution": Family("bench.metrics.image_attribution.ImageAttribution"),
    "bertscore": Family("bench.metrics.bertscore.BERTScore"),
    "bertscore-roberta-large": Family("bench.metrics.bertscore.BERTScoreLarge"),
    "diversity": Family("bench.metrics.diversity.Diversity", scored=ALWAYS),
    "chexpert-rules": _clinical(
        "rules.ChexpertRules", ALWAYS, "chexpert-rules", "chexpert-rules", _AVERAGES
    ),
    "chexpert-rules-truth": _clinical(
        "against_truth.ChexpertRulesTruth", ALWAYS, "chexpert-rules-truth", "chexpert-rules-truth",
        {score: head for score, head in _AVERAGES.items() if "example" not in score},
    ),
    "chexpert-rules-uncertain": _preset("rules.ChexpertRulesUncertain"),
    "chexbert": _clinical("chexbert.CheXbert", EXPECTED, "CheXbert", "chexbert", _AVERAGES),
    "chexbert-uncertain-negative": _preset("chexbert.CheXbertNegative"),
    "chexbert-uncertain-ignored": _preset("chexbert.CheXbertIgnored"),
    "chexbert-r2gen": _preset("chexbert.CheXbertR2Gen"),
    "chexbert-f1chexbert": _preset("chexbert.CheXbertF1"),
    "chexbert-rgrg": _preset("chexbert.CheXbertRGRG"),
    "chexbert-miura": _preset("chexbert.CheXbertMiura"),
    "radgraph": _clinical("radgraph.RadGraphF1", EXPECTED, "RadGraph", "radgraph", _PARTIAL),
    "radgraph-xl": _clinical(
        "radgraph.RadGraphXLF1", HERE, "RadGraph-XL", "radgraph-xl", _PARTIAL
    ),
    "modern-radgraph-xl": _clinical(
        "radgraph.ModernRadGraphXLF1", HERE, "Modern-RadGraph-XL", "modern-radgraph-xl", _PARTIAL
    ),
}  # fmt: skip
# Metrics that users ask for and that are not computed here -> why; docs/metrics.md says more.
NOT_HERE = {
    "RaTEScore": "its package needs numpy below 2 (medspacy), and fetches two models by itself",
    "RadCliQ-v1": "its weights are a pickle of an old scikit-learn, which runs code when read",
    "SRR-BERT": "its package (RadEval) installs transformers 5, spacy 3.7 and medspacy",
    "GREEN": "no release of green-score installs here; its judge has 7 billion parameters",
    "CRIMSON": "its judge is a large language model; not tried",
}
RANKED_BY = "BLEU-4"  # what the best row, and the best floor, is the best by
BRIEF = ("BLEU-4", "CIDEr")  # where there is room for two
NLG = tuple(name for name, family in FAMILIES.items() if family.kind == LANGUAGE)


def known_families() -> dict[str, Family]:
    """The project's families, and those of $BENCH_CONF; a name that both have is an error."""
    found = dict(FAMILIES)
    for name, path in files(METRIC).items():
        if any(name.lower() == own.lower() for own in FAMILIES):
            raise BenchError(f"{path} defines {name!r}, a metric of {__file__}", "rename the file")
        found[name] = _foreign(name, path)
    return found


@cache  # scoring asks for a family thousands of times
def _foreign(name: str, path: Path) -> Family:
    entry = load_yaml(METRIC, name)
    given = {("target" if key == "_target_" else key): value for key, value in entry.items()}
    if isinstance(columns := given.get("columns"), list):
        given["columns"] = dict.fromkeys(columns, "")
    return from_dict(Family, given, f"metric {name}")


def of_kind(kind: str) -> tuple[str, ...]:
    """The families of a kind, in the order of tables."""
    return tuple(name for name, family in known_families().items() if family.kind == kind)


def scored(*when: str) -> tuple[str, ...]:
    """The families that are computed `when`: ALWAYS, EXPECTED, HERE."""
    return tuple(name for name, family in known_families().items() if family.scored in when)


@dataclass(frozen=True)
class Column:
    """A column of a table: its heading, the score that it shows, and the score's family."""

    head: str
    family: str
    score: str


def columns(kind: str) -> Iterator[Column]:
    """What tables show of the families of a kind."""
    for name in of_kind(kind):
        for score, head in known_families()[name].columns.items():
            yield Column(head or score, name, score)


def compared() -> tuple[str, ...]:
    """The scores that rows are tested on."""
    return tuple(s for name in of_kind(LANGUAGE) for s in known_families()[name].compared)


def names() -> tuple[str, ...]:
    """All families, in the order of tables."""
    return tuple(known_families())


def family(name: str) -> str:
    """The family of a family's or a score's name, in any case: "bleu-4" -> "BLEU"."""
    known = known_families()
    fitting = [f for f in known if f"{name}-".lower().startswith(f"{f}-".lower())]
    if not fitting:
        for other, why in NOT_HERE.items():
            if name.lower() in (other.lower(), other.lower().partition("-")[0]):
                raise BenchError(f"{other} is not computed here: {why}", "see docs/metrics.md")
        raise unknown("metric", name, known)
    return max(fitting, key=len)


def listed(text: str) -> list[str]:
    """The names in what a user gave by commas; an unknown metric, or none of them, is an error.

    What was not given, "", is no name at all.
    """
    names = [name.strip() for name in text.split(",") if name.strip()]
    if text and not names:
        raise BenchError(f"{text!r} names no metric", f"known: {', '.join(known_families())}")
    for name in names:
        family(name)
    return names


def families(scores: Iterable[str]) -> list[str]:
    """Scores or families -> their families, each once, in that order."""
    return list(dict.fromkeys(family(name) for name in scores))


@cache
def load(name: str) -> Metric:
    """The metric of a family, one instance a process; imports its module.

    MissingError when a package that it needs is not installed.
    """
    known = known_families()
    if name not in known:
        raise unknown("metric", name, known)
    target = known[name].target
    module, _, attribute = target.rpartition(".")
    try:
        metric: Metric = getattr(import_module(module), attribute)()
    except ModuleNotFoundError as error:
        if f"{module}.".startswith(f"{error.name}."):
            raise _unresolved(name, target, error) from None
        raise MissingError(
            f"{name} needs the package {error.name}", f"pip install {error.name}"
        ) from None
    except (AttributeError, ValueError) as error:
        raise _unresolved(name, target, error) from None
    strange = [s for s in metric.scores if not f"{s}-".lower().startswith(f"{name}-".lower())]
    if strange:
        raise BenchError(
            f"metric {name} has a score {strange[0]!r}", f"its scores must begin with {name!r}"
        )
    return metric


def _unresolved(name: str, target: str, error: Exception) -> BenchError:
    return BenchError(
        f"metric {name}: cannot import {target!r} ({error})",
        "`_target_` must be an importable path, package.module.Class: put the folder that holds "
        "the package on PYTHONPATH, or install it",
    )
