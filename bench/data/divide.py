"""Divisions of studies into splits that share no text and no patient."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from bench.data.manifest import Manifest, sha256


def draw(seed: str, key: str) -> float:
    """A uniform number in [0, 1) that depends on `seed` and `key` alone, on every platform."""
    return int(sha256(f"{seed}:{key}")[:13], 16) / 16**13


def exchangeable(
    manifest: Manifest, strata: Mapping[str, str], shares: Mapping[str, float], seed: str
) -> dict[str, str]:
    """Study id -> split, drawn so that no text is in two splits and all splits are alike.

    Studies of one text (or one patient's: the union of both relations) form a group, which goes
    to one split whole. Groups come in random order; each goes to a split drawn with probability
    proportional to the room that is left there in the group's stratum, so that sizes come out
    near `shares` and large groups favour no split. `strata` maps study ids ("normal").
    """
    groups = _groups(manifest)
    room = _room(manifest, strata, shares)
    splits: dict[str, str] = {}
    for ids in sorted(groups, key=lambda ids: draw(f"{seed}/order", ids[0])):
        left = room[_majority([strata[i] for i in ids])]
        split = _choose(left, draw(f"{seed}/split", ids[0]))
        left[split] -= len(ids)
        splits.update(dict.fromkeys(ids, split))
    return splits


def folds(
    manifest: Manifest, strata: Mapping[str, str], count: int, seed: str
) -> list[dict[str, str]]:
    """Study id -> split in each of `count` folds, in which every study is tested once.

    The studies are divided into two parts a fold (`even_parts`). Fold f tests its own two,
    validates on the first part of the next fold, and trains on all others: of five folds each
    trains on 70 %, validates on 10 % and tests 20 % of the studies.
    """
    parts = even_parts(manifest, strata, 2 * count, seed)
    return [{i: _split(part, fold, count) for i, part in parts.items()} for fold in range(count)]


def even_parts(
    manifest: Manifest, strata: Mapping[str, str], count: int, seed: str
) -> dict[str, int]:
    """Study id -> one of `count` parts of equal size, no text or patient in two of them.

    Groups (see `exchangeable`) go whole, the largest first and equal ones in random order, to the
    part that has fewest studies of the group's stratum; of several such parts one is drawn. The
    draw knows no part from another, so that all are exchangeable.
    """
    sizes = {stratum: [0] * count for stratum in strata.values()}
    parts: dict[str, int] = {}
    groups = sorted(_groups(manifest), key=lambda ids: (-len(ids), draw(f"{seed}/order", ids[0])))
    for ids in groups:
        own = sizes[_majority([strata[i] for i in ids])]
        part = min(range(count), key=lambda p: (own[p], draw(f"{seed}/part{p}", ids[0])))
        own[part] += len(ids)
        parts.update(dict.fromkeys(ids, part))
    return parts


def _split(part: int, fold: int, count: int) -> str:
    if part // 2 == fold:
        return "test"
    return "val" if part == 2 * ((fold + 1) % count) else "train"


def _groups(manifest: Manifest) -> list[list[str]]:
    """Study ids, joined (transitively) where they share a text or a patient."""
    parent: dict[str, str] = {}

    def root(node: str) -> str:
        while parent.setdefault(node, node) != node:
            node = parent[node]
        return node

    for entry in manifest.entries:
        for relation in (f"text {entry.text}", f"patient {entry.patient}"):
            parent[root(relation)] = root(f"study {entry.study}")
    groups: dict[str, list[str]] = {}
    for entry in manifest.entries:
        groups.setdefault(root(f"study {entry.study}"), []).append(entry.study)
    return [sorted(ids) for ids in groups.values()]


def _room(
    manifest: Manifest, strata: Mapping[str, str], shares: Mapping[str, float]
) -> dict[str, dict[str, float]]:
    room: dict[str, dict[str, float]] = {}
    for entry in manifest.entries:
        left = room.setdefault(strata[entry.study], dict.fromkeys(shares, 0.0))
        for split, share in shares.items():
            left[split] += share
    return room


def _majority(names: Sequence[str]) -> str:
    return max(sorted(set(names)), key=names.count)


def _choose(room: Mapping[str, float], point: float) -> str:
    """The split at `point` (0 to 1) of the room laid end to end; the roomiest when all is full."""
    total = sum(max(left, 0.0) for left in room.values())
    passed = 0.0
    for split, left in room.items():
        passed += max(left, 0.0)
        if point * total < passed:
            return split
    return max(room, key=lambda split: room[split])
