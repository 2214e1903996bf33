"""What metrics need beside the reports: pretrained weights, or a model's features."""

from __future__ import annotations

from bench import weights
from bench.data.text import TREATMENTS
from bench.errors import MissingError
from bench.metrics import registry
from bench.metrics.references import RAW

# Of CheXbert's presets only the default: they share weights and labels. XL models if they are here.
WEIGHTED = ("chexbert", "radgraph")
OPTIONAL = ("radgraph-xl", "modern-radgraph-xl")


def reads_text(metric: str) -> bool:
    """Whether a family is computed from reports alone; alignment reads a model's features."""
    try:
        return any(t == RAW or t in TREATMENTS for t in registry.load(metric).treatments)
    except MissingError:  # a package is not installed: said where it would be computed
        return True


def weights_of(metric: str) -> tuple[str, ...]:
    """The names of the weights that a metric reads with."""
    try:
        return tuple(getattr(registry.load(metric), "weights", ()))
    except MissingError:  # a package is not installed
        return ()


def lacking(metric: str) -> tuple[str, ...]:
    """Those of them whose file is not here; nothing is hashed."""
    return tuple(w for w in weights_of(metric) if weights.locate(weights.entry(w)) is None)


def here() -> tuple[str, ...]:
    """The metrics whose weights are here: a run is scored with them unasked."""
    return tuple(name for name in (*WEIGHTED, *OPTIONAL) if not lacking(name))


def users() -> dict[str, list[str]]:
    """Weights -> the metrics that need them."""
    found: dict[str, list[str]] = {}
    for metric in registry.names():
        for name in weights_of(metric):
            found.setdefault(name, []).append(metric)
    return found


def absence(name: str) -> str:
    """Why a metric cannot run on this machine; empty where it can."""
    try:
        registry.load(name).require()
    except MissingError as error:
        return error.message
    return ""


METRICS = (*registry.NLG, "diversity", "chexpert-rules", "chexpert-rules-truth")
