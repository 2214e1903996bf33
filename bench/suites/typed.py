"""Errors about fields of a spec, in the words of the settings that a user types."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from bench.errors import BenchError

# Fields of a spec as they are called in a configuration: what an error says is what one types.
TYPED = (
    (r"(?<![\w.])(?:model\.)?train\.(batch|precision|crops|threads)\b", r"budget.\1"),
    (r"(?<![\w.])train\.(?=optimizer|schedule|clip|accumulate)", "model.train."),
    (r"(?<![\w.])selection\.", "budget.selection."),
    (r"(?<![\w.])stages\.", "model.stages."),
)


@contextmanager
def as_typed() -> Iterator[None]:
    """Errors about fields of a spec name the settings that they are made of."""
    try:
        yield
    except BenchError as error:
        error.message, error.hint = _typed(error.message), _typed(error.hint)
        error.args = (error.message,)
        raise


def _typed(text: str) -> str:
    for field, setting in TYPED:
        text = re.sub(field, setting, text)
    return text
