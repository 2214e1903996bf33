"""Text: R2Gen's cleaning, its vocabulary, and the named treatments under which texts are scored.

Whoever compares with published numbers must clean exactly as R2Gen did, accidents included: the
treatment of the references alone moves BLEU-4 of one prediction file by a factor of 2.8. Each
accident is named where it happens.

White space is one kind of thing before any of that, in references and predictions alike: R2Gen's
files hold spaces alone, and a line break of another file is not to hide the end of a sentence.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

from bench.data.study import Dataset
from bench.errors import BenchError, unknown
from bench.spec import TREATMENT

UNK = "<unk>"
CLEANINGS = ("iu", "mimic")
# R2Gen's for the dataset of each cleaning: occurrences in train from which on a word is kept, and
# the token ids that a report is cut to.
MIN_COUNTS = {"iu": 3, "mimic": 10}
MAX_LENGTHS = {"iu": 60, "mimic": 100}

# Applied in this order. ("1. ", "") has no guard in front: it also eats the end of "T11. " or of
# "2.1. " and so fuses two sentences; the others demand a space or a period before the number,
# and turn "Grade 2. Stable" into two sentences.
_DOTS = ("..", ".")
_NUMBERING = (
    ("1. ", ""),
    *((f". {n}. ", ". ") for n in range(2, 6)),
    *((f" {n}. ", ". ") for n in range(2, 6)),
)
_REPLACEMENTS: dict[str, tuple[tuple[str, str], ...]] = {
    "iu": (*[_DOTS] * 3, *_NUMBERING),
    # Underscores are MIMIC's de-identification marks; those left over are deleted below. R2Gen's
    # own steps for line breaks and repeated spaces are `one_space`'s.
    "mimic": (*[("__", "_")] * 7, *[_DOTS] * 8, *_NUMBERING),
}
# What Python does not count as white space and no reader can see; joiners are no space, and go.
_UNSEEN = {0x200B: " ", 0xFEFF: " ", 0x180E: " ", 0x200C: "", 0x200D: "", 0x2060: ""}
# Removed before a sentence is trimmed: "AP/PA" becomes "appa".
_QUOTES = str.maketrans("", "", "\"'/\\")
# Removed after it is trimmed. In the original class the hyphen stands between ":" and "[" and so
# means a range: it deletes : ; < = > ? @ A-Z [ and leaves the hyphen itself, "x-ray", alone.
# Decimal points go too ("5.3 cm" becomes "53 cm"); # $ | ~ and the backtick stay.
_RANGE = "".join(map(chr, range(ord(":"), ord("[") + 1)))
_PUNCTUATION = str.maketrans("", "", ".,?;*!%^&_+()]{}" + _RANGE)
# Characters of which one stands in for `<unk>` while a hypothesis is cleaned: no rule touches them.
_PRIVATE = range(0xE000, 0xF900)


def one_space(report: str) -> str:
    """`report` with one plain space for white space of any kind and length.

    A space at the beginning or end stays, since R2Gen's rules for numbering look at it.
    """
    seen = report if report.isascii() else report.translate(_UNSEEN)
    words = " ".join(seen.split())
    begin, end = (" " if end.isspace() else "" for end in (seen[:1], seen[-1:]))
    return f"{begin}{words}{end}" if words else begin


@lru_cache(1 << 18)  # a report is cleaned as a target, for the vocabulary and as a reference
def clean(report: str, cleaning: str) -> str:
    """`report` as R2Gen's tokenizer cleans it (`cleaning` "iu" or "mimic"), spaces included.

    Sentences are cut at ". " only, and empty ones are kept (R2Gen's filter for them compares a
    string with a list): they show as repeated periods, and an empty report becomes " .".
    """
    if cleaning not in _REPLACEMENTS:
        raise unknown("cleaning", cleaning, CLEANINGS)
    report = one_space(report)
    for old, new in _REPLACEMENTS[cleaning]:
        report = report.replace(old, new)
    sentences = report.strip().lower().split(". ")
    return " . ".join([_sentence(s) for s in sentences]) + " ."


def _sentence(text: str) -> str:
    return text.translate(_QUOTES).strip().translate(_PUNCTUATION)


def normalise(text: str) -> str:
    """Words with one space between them."""
    return " ".join(text.split())


def clean_hypothesis(report: str, cleaning: str) -> str:
    """A prediction, cleaned as the references are; cleaning twice changes nothing.

    Text that is clean already, but for capitals, passes as it is: an empty report stays empty, and
    one that a length limit cut in the middle of a sentence gets no period. `<unk>` is protected
    from the cleaner, which would delete its brackets, since R2Gen scores it as a word.
    """
    kept = next(c for c in map(chr, _PRIVATE) if c not in report)
    report = one_space(report.replace(UNK, kept))
    text, cleaned = report.strip().lower(), normalise(clean(report, cleaning))
    unchanged = cleaned in (text, f"{text} .".strip())
    return (text if unchanged else cleaned).replace(kept, UNK)


@dataclass(frozen=True)
class Vocabulary:
    """R2Gen's vocabulary: words in code-point order, `<unk>` among them, ids from 1.

    Id 0 is at once BOS, EOS and padding and is not a word, so a model has `len(vocabulary) + 1`
    outputs.
    """

    words: tuple[str, ...]

    @classmethod
    def build(cls, reports: Iterable[str], min_count: int) -> Vocabulary:
        """The words that occur at least `min_count` times in the cleaned train `reports`."""
        counts = Counter(word for report in reports for word in report.split())
        frequent = {word for word, count in counts.items() if count >= min_count}
        return cls(tuple(sorted(frequent | {UNK})))

    @classmethod
    def of(cls, words: Iterable[str]) -> Vocabulary:
        """Of words in any order; `<unk>` is always among them."""
        return cls(tuple(sorted({*words, UNK})))

    @classmethod
    def load(cls, path: Path) -> Vocabulary:
        """Read what `save` wrote."""
        words = tuple(path.read_text(encoding="utf-8").removesuffix("\n").split("\n"))
        if UNK not in words or list(words) != sorted(set(words)):
            raise BenchError(
                f"{path} is not a vocabulary: words must be sorted, distinct and include {UNK}",
                "build it again from the dataset's train split",
            )
        return cls(words)

    def save(self, path: Path) -> None:
        """One word a line; line n (from 1) is id n."""
        path.write_text("\n".join(self.words) + "\n", encoding="utf-8")

    def __len__(self) -> int:
        """V, `<unk>` included, the 0 not: 760 for IU X-ray."""
        return len(self.words)

    @cached_property
    def _ids(self) -> dict[str, int]:
        return {word: i for i, word in enumerate(self.words, start=1)}

    @property
    def unk(self) -> int:
        """The id of `<unk>`."""
        return self._ids[UNK]

    @property
    def digest(self) -> str:
        """sha256 of the words in order."""
        return hashlib.sha256("\n".join(self.words).encode()).hexdigest()

    def encode(self, text: str, max_length: int) -> list[int]:
        """0, the ids of a cleaned text's words, 0; cut to `max_length` ids, the first 0 included.

        A long report therefore keeps max_length - 1 words and no closing 0.
        """
        ids, unk = self._ids, self.unk
        return [0, *[ids.get(word, unk) for word in text.split()], 0][:max_length]

    def decode(self, ids: Iterable[int]) -> str:
        """The words up to the first 0; one leading 0 (the BOS) may be there and is skipped."""
        words: list[str] = []
        for position, i in enumerate(ids):
            if i == 0 and position == 0:
                continue
            if i == 0:
                break
            words.append(self.words[i - 1])
        return " ".join(words)


def vocabulary(dataset: Dataset) -> Vocabulary:
    """The vocabulary of a dataset's train split, at the dataset's own threshold."""
    train = (clean(study.report, dataset.cleaning) for study in dataset.split("train"))
    return Vocabulary.build(train, dataset.min_count)


@dataclass(frozen=True)
class Treatment:
    """What becomes of references and hypotheses before they are compared.

    `limit`: references keep at most this many ids and rare words become `<unk>`, as in R2Gen's
    token ids; None: they stay whole. `ptb`: the metric layer tokenises both sides with PTB rules
    afterwards.
    """

    name: str
    cleaning: str
    limit: int | None
    ptb: bool

    def reference(self, report: str, vocabulary: Vocabulary) -> str:
        """The raw `report` as it is scored against."""
        text = normalise(clean(report, self.cleaning))
        if self.limit is None:
            return text
        return vocabulary.decode(vocabulary.encode(text, self.limit))

    def hypothesis(self, report: str) -> str:
        """A prediction, raw or clean already: same cleaning, neither thresholded nor cut."""
        return clean_hypothesis(report, self.cleaning)


# name -> (limited to what R2Gen's ids hold, PTB). A changed rule is a new name: `r2gen@2`.
TREATMENTS: dict[str, tuple[bool, bool]] = {
    TREATMENT: (True, False),
    "full@1": (False, True),
}


def treatment(name: str, dataset: Dataset) -> Treatment:
    """The treatment `name` with the cleaning and the length limit of `dataset`."""
    if name not in TREATMENTS:
        raise unknown("text treatment", name, TREATMENTS)
    limited, ptb = TREATMENTS[name]
    return Treatment(name, dataset.cleaning, dataset.max_length if limited else None, ptb)
