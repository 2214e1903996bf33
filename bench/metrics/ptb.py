"""Penn Treebank tokenisation by Stanford CoreNLP 3.4.1, as pycocoevalcap's PTBTokenizer does it.

One short start of Java (about 0.3 s) for all lines that have not been seen before.
"""

from __future__ import annotations

from collections.abc import Sequence

from bench.errors import RunError
from bench.metrics.cache import AnswerCache
from bench.metrics.java import OPTIONS, find_jar, find_java, one_line, run

JAR = "tokenizer/stanford-corenlp-3.4.1.jar"
# Tokens that pycocoevalcap drops. Since it lower-cases first, brackets stay, as "-lrb-", "-rrb-".
_BRACKETS = ("-LRB-", "-RRB-", "-LCB-", "-RCB-")
_MARKS = ("''", "'", "``", "`", ".", "?", "!", ",", ":", "-", "--", "...", ";")
PUNCTUATION = frozenset([*_BRACKETS, *_MARKS])
_CACHE = AnswerCache("ptb-corenlp-3.4.1")


def tokenize(lines: Sequence[str]) -> list[str]:
    """Each text as lower-case PTB tokens without punctuation, one space between them.

    MissingError without Java or the jar; neither is looked for when all lines are known.
    """
    return _CACHE.answers([one_line(line) for line in lines], _tokenize)


def require() -> None:
    """Raise `MissingError` when Java or the jar is not here."""
    find_java()
    find_jar(JAR)


def _tokenize(lines: list[str]) -> list[str]:
    command = [
        find_java(), *OPTIONS, "-XX:TieredStopAtLevel=1", "-cp", str(find_jar(JAR)),
        "edu.stanford.nlp.process.PTBTokenizer", "-preserveLines", "-lowerCase",
    ]  # fmt: skip
    # Empty lines between them: the tokenizer looks across line ends, and what a line becomes
    # must not depend on its neighbours.
    answer = run(command, "\n\n".join(lines) + "\n", "the PTB tokenizer")
    tokenized = answer.split("\n")[0 : 2 * len(lines) : 2]
    if len(tokenized) != len(lines):
        raise RunError(f"the PTB tokenizer gave {len(tokenized)} lines for {len(lines)}")
    return [
        " ".join(w for w in line.split(" ") if w and w not in PUNCTUATION) for line in tokenized
    ]
