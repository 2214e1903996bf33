"""Why one file has many scores: the same predictions under every choice, beside floors.

Each row changes one thing of another row, so that its difference is what that choice moves. Nothing
here is a new treatment: the rows that have a name are those that `bench score` gives.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from bench.data.leakage import cleaned_reports
from bench.data.study import SECTIONS, Dataset, Study
from bench.data.text import Vocabulary, normalise, treatment, vocabulary
from bench.metrics import ptb, registry
from bench.metrics.base import Metric
from bench.metrics.bleu import best_constant
from bench.metrics.measuring import Ahead, Later, Progress
from bench.metrics.references import COCO
from bench.spec import TREATMENT
from bench.targets import resolve
from bench.terminal import number, table

FULL = "full@1"
SCORES = ("BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4", "METEOR", "ROUGE-L", "CIDEr")
MOVED = "BLEU-4"  # the score whose movements are shown
_ENDLESS = 1 << 30  # a length limit that cuts nothing
_PTB = f"PTB tokens, no punctuation: {COCO}"
FLOORS = {"constant report": "Constant", "most frequent report": "MostFrequent"}


@dataclass(frozen=True)
class Choice:
    """Both sides under one choice; `of` is the row that it changes, "" for none."""

    name: str
    of: str
    hypotheses: list[str]
    references: list[str]


@dataclass(frozen=True)
class Row:
    """The scores of a choice, and how far MOVED is from that of the row it changes."""

    name: str
    n: int
    values: dict[str, float]
    of: str
    moved: float | None


class Explained:
    """One set of predictions and references, under all choices.

    `source` holds the references of `split` (`bench.metrics.own_references.dataset` for one's own);
    without a train split or `words` there is no vocabulary, and r2gen@1 is left out.
    """

    def __init__(
        self, source: Dataset, split: str, reports: Sequence[str], words: Vocabulary | None = None
    ) -> None:
        self.source, self.split, self.reports = source, split, list(reports)
        self.references = [study.report for study in source.split(split)]
        self.trained = bool(source.split("train"))
        self.words = words or (vocabulary(source) if self.trained else None)

    def rows(self, progress: Progress = lambda done, total: None) -> list[Row]:
        """Every choice, then the floors."""
        choices = [
            *self._choices(), *self._without_empty(), *self._sections(), *self._floors()
        ]  # fmt: skip
        metrics = _metrics()
        for metric in metrics:
            if isinstance(metric, Ahead):
                metric.ahead([t for c in choices for t in (*c.hypotheses, *c.references)])
        found: dict[str, Row] = {}
        pending = {choice.name: _slowly(metrics, choice) for choice in choices}
        for done, choice in enumerate(choices, start=1):
            values = {**_values(metrics, choice), **pending[choice.name]()}
            before = found.get(choice.of)
            moved = values[MOVED] - before.values[MOVED] if before else None
            found[choice.name] = Row(choice.name, len(choice.references), values, choice.of, moved)
            progress(done, len(choices))
        return list(found.values())

    def _choices(self) -> Iterator[Choice]:
        written = [normalise(r) for r in self.reports], [normalise(r) for r in self.references]
        yield Choice("as written", "", *written)
        lowered = [t.lower() for t in written[0]], [t.lower() for t in written[1]]
        yield Choice("lower case", "as written", *lowered)
        yield Choice(_PTB, "lower case", *_ptb(*written))
        rule = treatment(FULL, self.source)
        cleaned = [rule.hypothesis(r) for r in self.reports]
        whole = [rule.reference(r, Vocabulary(())) for r in self.references]
        yield Choice("R2Gen's cleaning", "lower case", cleaned, whole)
        bare = [_without_periods(t) for t in cleaned], [_without_periods(t) for t in whole]
        yield Choice("R2Gen's cleaning, no periods", "R2Gen's cleaning", *bare)
        yield Choice(f"R2Gen's cleaning, PTB: {FULL}", "R2Gen's cleaning", *_ptb(cleaned, whole))
        if self.words is not None:
            yield from self._cut(cleaned, whole, self.words)

    def _cut(self, cleaned: list[str], whole: list[str], words: Vocabulary) -> Iterator[Choice]:
        """What R2Gen's token ids leave of a reference: no rare words, no end of a long one."""
        limit = self.source.max_length
        rare = [words.decode(words.encode(text, _ENDLESS)) for text in whole]
        short = [" ".join(text.split()[: limit - 1]) for text in whole]
        both = [words.decode(words.encode(text, limit)) for text in whole]
        yield Choice("rare reference words <unk>", "R2Gen's cleaning", cleaned, rare)
        yield Choice(f"references cut at {limit - 1}", "R2Gen's cleaning", cleaned, short)
        yield Choice(f"both: {TREATMENT}", "R2Gen's cleaning", cleaned, both)

    def _without_empty(self) -> Iterator[Choice]:
        """The same without the predictions that say nothing, where there are any."""
        kept = [i for i, report in enumerate(self.reports) if report.strip()]
        if kept and len(kept) < len(self.reports):
            sides = [self.reports[i] for i in kept], [self.references[i] for i in kept]
            yield Choice(
                "coco@1, empty reports left out",
                _PTB,
                *_ptb(*sides),
            )

    def _sections(self) -> Iterator[Choice]:
        """Against the other sections of each report, where the references have them."""
        studies = self.source.split(self.split)
        for name in SECTIONS:
            texts = [_section(study, name, self.source.section) for study in studies]
            kept = [i for i, text in enumerate(texts) if text]
            if name == self.source.section or not kept:
                continue
            said = "both sections" if name == SECTIONS[2] else f"the {name}"
            sides = [self.reports[i] for i in kept], [texts[i] for i in kept]
            yield Choice(f"{COCO}, against {said}", _PTB, *_ptb(*sides))

    def _floors(self) -> Iterator[Choice]:
        """A report that looks at no image, under each named treatment."""
        rule = treatment(FULL, self.source)
        whole = [rule.reference(r, Vocabulary(())) for r in self.references]
        named: dict[str, Callable[[str], tuple[list[str], list[str]]]] = {
            COCO: lambda said: _ptb([said] * len(whole), [normalise(r) for r in self.references]),
            FULL: lambda said: _ptb([said] * len(whole), whole),
        }
        if (words := self.words) is not None:
            limit = self.source.max_length
            named[TREATMENT] = lambda said: (
                [said] * len(whole),
                [words.decode(words.encode(text, limit)) for text in whole],
            )
        for title, said in self._constants().items():
            for name, sides in named.items():
                yield Choice(f"{title}: {name}", "", *sides(said))

    def _constants(self) -> dict[str, str]:
        """Title -> the one report of a floor, chosen as the floor of `bench run` chooses it."""
        material = _Material(self)
        where = "" if self.trained else ", of these references"
        return {
            f"{title}{where}": resolve(f"baselines.floors.{name}")().write(material)[0]
            for title, name in FLOORS.items()
        }


class _Material:
    """What the constant floors may use; see `baselines.floors.Material`.

    Without a train split the references themselves: the best that a constant could reach there.
    """

    def __init__(self, explained: Explained) -> None:
        source, words = explained.source, explained.words
        rule = treatment(TREATMENT if words else FULL, source)
        own = explained.split, explained.split
        train, val = ("train", "val") if explained.trained else own
        self.train = cleaned_reports(source, train)
        self.val = [rule.reference(s.report, words or Vocabulary(())) for s in source.split(val)]
        self.count = 1

    def choose(self, candidates: Sequence[str], references: Sequence[str]) -> int:
        return best_constant(candidates, references)[0]


def _section(study: Study, name: str, own: str) -> str:
    """The text of a section of a study whose report is the section `own`; "" where it has none.

    Both needs the two of them, as it does of references.
    """
    *single, both = SECTIONS
    if name == own:
        return study.report
    if name != both:
        return study.sections.get(name, "").strip()
    parts = [_section(study, part, own).strip() for part in single]
    return " ".join(parts) if all(parts) else ""


def _ptb(hypotheses: list[str], references: list[str]) -> tuple[list[str], list[str]]:
    found = ptb.tokenize([*hypotheses, *references])
    return found[: len(hypotheses)], found[len(hypotheses) :]


def _without_periods(text: str) -> str:
    return " ".join(word for word in text.split() if word != ".")


def _metrics() -> list[Metric]:
    found = [registry.load(name) for name in registry.families(SCORES)]
    for metric in found:
        metric.require()
    return found


def _slowly(metrics: Sequence[Metric], choice: Choice) -> Callable[[], dict[str, float]]:
    """The scores of what Java computes, waited for when they are asked for."""
    sides = choice.hypotheses, choice.references
    later = [
        (metric, Later(lambda metric=metric: metric.statistics(*sides)))  # type: ignore[misc]
        for metric in metrics
        if isinstance(metric, Ahead)
    ]

    def wait() -> dict[str, float]:
        found: dict[str, float] = {}
        for metric, result in later:
            table: Any = result.result()
            found |= metric.corpus(table)
        return found

    return wait


def _values(metrics: Sequence[Metric], choice: Choice) -> dict[str, float]:
    """The scores of what is computed here."""
    found: dict[str, float] = {}
    for metric in metrics:
        if not isinstance(metric, Ahead):
            statistics = metric.statistics(choice.hypotheses, choice.references)
            found |= metric.corpus(statistics)
    return found


def rendered(title: str, rows: Sequence[Row]) -> str:
    """The rows as a table; the last two columns say what moved, and against which row."""
    head = ["texts", "n", *SCORES, f"{MOVED} moves", "from"]
    cells = [
        [
            row.name,
            str(row.n),
            *(number(row.values[score]) for score in SCORES),
            "" if row.moved is None else _signed(row.moved),
            row.of,
        ]
        for row in rows
    ]
    return table(title, head, cells)


def _signed(value: float) -> str:
    text = number(value)
    return text if text.startswith("-") else f"+{text}"
