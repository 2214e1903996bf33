"""Benchmark and reproducibility harness for chest X-ray report generation.

`from bench import score` scores lists of reports against lists of references.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bench.metrics.own_references import score as score

__version__ = "0.1.0"
__all__ = ["__version__", "score"]


def __getattr__(name: str) -> Any:
    """`score`, imported when it is first asked for: `import bench` alone stays light."""
    if name == "score":
        return import_module("bench.metrics.own_references").score
    raise AttributeError(f"module 'bench' has no attribute {name!r}")
