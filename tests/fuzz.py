"""Damaged inputs by the thousand: a right answer or a named error, and no file changed.

`python tests/fuzz.py COUNT [SEED]` prints the outcomes by kind. Every case is a function of its
number and the seed. The kinds are in `fuzz_kinds`.
"""

from __future__ import annotations

import random
import shutil
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from bench.errors import BenchError

Check = Callable[[Path], None]
RIGHT, NAMED = "right", "named"
# What is put into a file: ends of lines, quotes, marks, numbers that are none.
TOKENS = (
    b"\0", b"\xff", b"\xef\xbb\xbf", b'"', b"'", b"\r", b"\n", b"\r\n", b",", b";", b"{", b"}",
    b"[", b"]", b":", b"null", b"NaN", b"1e999", b"-1", b"true", b"<", b">", b"&x;", b"../..",
    b"\t", b"\xe2\x80\x8b", b"\\u0000", b"!!python/object:os.system", b"*a", b"&a", b"%",
    b"study_id", b"9" * 400, b"[" * 2000, b"${oc.env:HOME}",
)  # fmt: skip


@dataclass(frozen=True)
class Kind:
    """Files that are made once, and what reads them after one was damaged.

    `read` raises BenchError or comes to an end; it raises AssertionError for a wrong answer.
    """

    name: str
    make: Callable[[Path], Sequence[Path]]  # into a folder; the files that may be damaged
    read: Check
    again: bool = False  # what is damaged is made again, as a cache is


@dataclass(frozen=True)
class Failure:
    kind: str
    number: int
    text: str


def mutated(data: bytes, rng: random.Random) -> bytes:
    """Some bytes flipped, cut out, doubled, moved or put in."""
    for _ in range(rng.choice((1, 1, 1, 2, 5))):
        at = rng.randrange(len(data) + 1)
        end = min(len(data), at + rng.choice((1, 2, 8, 64, 1 << 20)))
        token = rng.choice(TOKENS)
        data = rng.choice(
            (
                lambda d, a, e, t: d[:a] + t + d[a:],
                lambda d, a, e, t: d[:a] + t + d[e:],
                lambda d, a, e, t: d[:a] + d[e:],
                lambda d, a, e, t: d[:a],
                lambda d, a, e, t: d[:e] + d[a:e] + d[e:],
                lambda d, a, e, t: d[:a] + bytes(b ^ 1 << rng.randrange(8) for b in d[a:e]) + d[e:],
                lambda d, a, e, t: d[e:] + d[:a],
                lambda d, a, e, t: d[:a] + bytes(e - a) + d[e:],
            )
        )(data, at, end, token)
    return data


def damage(path: Path, rng: random.Random) -> None:
    """One file's content, or, seldom, the file itself."""
    odd = rng.random()
    if odd < 0.02:
        path.unlink()
    elif odd < 0.04:
        path.unlink()
        path.mkdir()
    else:
        path.write_bytes(mutated(path.read_bytes(), rng))


def content(folder: Path, files: Sequence[Path]) -> dict[str, bytes]:
    return {str(f): (folder / f).read_bytes() for f in files if (folder / f).is_file()}


class Fuzzer:
    """Cases of some kinds, one after the other, in a folder of its own."""

    def __init__(self, kinds: Sequence[Kind], place: Path, seed: int = 0) -> None:
        self.kinds, self.place, self.seed = kinds, place, seed
        self.outcomes: Counter[tuple[str, str]] = Counter()
        self.failures: list[Failure] = []
        self._files: dict[str, list[Path]] = {}
        for kind in kinds:
            base = place / "base" / kind.name
            base.mkdir(parents=True)
            self._files[kind.name] = [p.relative_to(base) for p in kind.make(base)]

    def run(self, count: int) -> None:
        for number in range(count):
            self.case(self.kinds[number % len(self.kinds)], number)

    def case(self, kind: Kind, number: int) -> None:
        rng = random.Random(f"{self.seed}/{kind.name}/{number}")
        base, here = self.place / "base" / kind.name, self.place / "case"
        shutil.rmtree(here, ignore_errors=True)
        shutil.copytree(base, here, symlinks=True)
        files = self._files[kind.name]
        damage(here / rng.choice(files), rng)
        before = content(here, files)
        try:
            kind.read(here)
            outcome = RIGHT
        except BenchError as error:
            outcome = NAMED if error.message else "unnamed"
        except OSError as error:  # which `bench` says in a line
            outcome = NAMED if error.filename else "unnamed"
        except Exception:
            outcome = "traceback"
            self.failures.append(Failure(kind.name, number, traceback.format_exc()))
        if not kind.again and content(here, files) != before:
            outcome = "changed a file"
            self.failures.append(Failure(kind.name, number, outcome))
        self.outcomes[kind.name, outcome] += 1

    def table(self) -> Iterator[str]:
        outcomes = sorted({o for _, o in self.outcomes} | {RIGHT, NAMED})
        yield f"{'kind':16}{'cases':>8}" + "".join(f"{o:>16}" for o in outcomes)
        for kind in self.kinds:
            counts = [self.outcomes[kind.name, o] for o in outcomes]
            yield f"{kind.name:16}{sum(counts):8}" + "".join(f"{c:16}" for c in counts)
        total = sum(self.outcomes.values())
        sums = [sum(self.outcomes[k.name, o] for k in self.kinds) for o in outcomes]
        yield f"{'all':16}{total:8}" + "".join(f"{c:16}" for c in sums)


def main() -> int:
    from fuzz_kinds import KINDS

    count, seed = int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0
    with tempfile.TemporaryDirectory() as place:
        fuzzer = Fuzzer(KINDS, Path(place), seed)
        fuzzer.run(count)
    print("\n".join(fuzzer.table()))
    for failure in fuzzer.failures[:20]:
        print(f"\n{failure.kind} {failure.number}\n{failure.text}")
    return bool(fuzzer.failures)


if __name__ == "__main__":
    sys.exit(main())
