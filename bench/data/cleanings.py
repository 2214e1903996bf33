"""Variants of R2Gen's cleaning for datasets with marks of their own.

The project's two variants stand in `bench.data.text`. A dataset that needs further replacements
names them in its YAML as a parameter of its reader, so that they are part of every run's identity.
"""

from __future__ import annotations

from collections.abc import Sequence

from bench.canonical import digest
from bench.data import text
from bench.errors import BenchError, unknown


def variant(base: str, replace: Sequence[Sequence[str]]) -> str:
    """The name of a cleaning, for `Dataset.cleaning`: pairs (old, new) in order, then `base`'s.

    Reports reach the pairs not yet in small letters, and with one plain space for any white space.
    The same pairs give the same name, other pairs another one. BenchError for what is not a pair of
    texts, or can never be found.
    """
    if base not in text.CLEANINGS:
        raise unknown("cleaning", base, text.CLEANINGS)
    for pair in replace:
        if isinstance(pair, str) or len(pair) != 2 or not all(isinstance(t, str) for t in pair):
            raise BenchError(f"{pair!r} is not a replacement", "give pairs of texts: [old, new]")
        if text.one_space(pair[0]) != pair[0]:
            raise BenchError(
                f"{pair[0]!r} is never found: white space is one plain space by then",
                "write a single space for line breaks, tabs and repeated spaces",
            )
    rules = tuple((old, new) for old, new in replace)
    name = f"{base}+{digest(list(map(list, rules)))[:8]}"
    # The table is filled here rather than asked from there: what a reader imports counts for the
    # runs on its dataset, what `bench.data.text` holds counts for all.
    text._REPLACEMENTS[name] = (*rules, *text._REPLACEMENTS[base])
    return name
