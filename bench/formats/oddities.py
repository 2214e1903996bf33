"""What is odd in texts, and is scored as it stands: marks that another program left in them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

# What was left -> how it looks.
_MARKS = {
    "HTML's entities": re.compile(r"&(?:amp|lt|gt|quot|apos|nbsp|#\d+|#x[0-9a-f]+);", re.I),
    "a line break written as \\n": re.compile(r"\\n"),
    "Excel's _x000D_": re.compile(r"_x000[ad]_", re.I),
    "a tokenizer's marks": re.compile(
        r"</?s>|\[(?:CLS|SEP|PAD|BOS|EOS|UNK)\]|<(?:pad|bos|eos|start|end|\|endoftext\|)>", re.I
    ),
    "only the word nan, null or none": re.compile(r"\A\s*(?:nan|null|none|<na>)\s*\Z", re.I),
}


def noticed(kind: str, texts: Iterable[str]) -> Iterator[str]:
    """A line for each kind of mark: how many of the texts hold it, and which it is."""
    texts = list(texts)
    for what, pattern in _MARKS.items():
        found = [match[0].strip() for text in texts if (match := pattern.search(text))]
        if found:
            yield f"{len(found)} {kind} hold {what} ({found[0]!r}): scored as they stand"
