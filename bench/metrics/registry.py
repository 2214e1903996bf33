"""Metric families by name. Nothing is imported before it is asked for.

To add one: a class on `bench.metrics.base.Metric`, a line here, golden values in a test.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module

from bench.errors import MissingError, unknown
from bench.metrics.base import Metric

# A family's scores are named after it (but for case): "BLEU" gives "BLEU-1" to "BLEU-4".
FAMILIES: dict[str, str] = {
    "BLEU": "bench.metrics.bleu:BLEU",
    "METEOR": "bench.metrics.meteor:METEOR",
    "ROUGE-L": "bench.metrics.rouge:RougeL",
    "CIDEr": "bench.metrics.cider:CIDEr",
    "alignment": "bench.metrics.alignment:Alignment",
    "diversity": "bench.metrics.diversity:Diversity",
    "chexpert-rules": "bench.metrics.clinical.rules:ChexpertRules",
    "chexpert-rules-uncertain": "bench.metrics.clinical.rules:ChexpertRulesUncertain",
    "chexpert-rules-truth": "bench.metrics.clinical.against_truth:ChexpertRulesTruth",
    "chexbert": "bench.metrics.clinical.chexbert:CheXbert",
    "chexbert-uncertain-negative": "bench.metrics.clinical.chexbert:CheXbertNegative",
    "chexbert-uncertain-ignored": "bench.metrics.clinical.chexbert:CheXbertIgnored",
    "chexbert-r2gen": "bench.metrics.clinical.chexbert:CheXbertR2Gen",
    "chexbert-f1chexbert": "bench.metrics.clinical.chexbert:CheXbertF1",
    "chexbert-rgrg": "bench.metrics.clinical.chexbert:CheXbertRGRG",
    "chexbert-miura": "bench.metrics.clinical.chexbert:CheXbertMiura",
    "radgraph": "bench.metrics.clinical.radgraph:RadGraphF1",
    "radgraph-xl": "bench.metrics.clinical.radgraph:RadGraphXLF1",
    "modern-radgraph-xl": "bench.metrics.clinical.radgraph:ModernRadGraphXLF1",
}
NLG = ("BLEU", "METEOR", "ROUGE-L", "CIDEr")


def names() -> tuple[str, ...]:
    """All families, in the order of tables."""
    return tuple(FAMILIES)


def family(name: str) -> str:
    """The family of a family's or a score's name, in any case: "bleu-4" -> "BLEU"."""
    fitting = [f for f in FAMILIES if f"{name}-".lower().startswith(f"{f}-".lower())]
    if not fitting:
        raise unknown("metric", name, FAMILIES)
    return max(fitting, key=len)


@cache
def load(name: str) -> Metric:
    """The metric of a family, one instance a process; imports its module.

    MissingError when a package that it needs is not installed.
    """
    if name not in FAMILIES:
        raise unknown("metric", name, FAMILIES)
    module, _, attribute = FAMILIES[name].partition(":")
    try:
        metric: Metric = getattr(import_module(module), attribute)()
    except ModuleNotFoundError as error:
        raise MissingError(
            f"{name} needs the package {error.name}", f"pip install {error.name}"
        ) from None
    return metric
