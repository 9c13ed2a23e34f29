"""Finds pairs that are there again, and pairs that contradict each other: the same prompt and answers, the sides swapped."""

from __future__ import annotations

from collections import defaultdict

from prefd.daemon.worker.xray.pair_features import PairFeatures


def find_duplicates(pairs: PairFeatures) -> list[tuple[int, int]]:
    """Return each pair that repeats an earlier one, with the first of its kind."""
    first: dict[tuple[bytes, bytes], int] = {}
    return [
        (index, earlier)
        for index, answers in enumerate(pairs.answers)
        if (earlier := first.setdefault(answers, index)) != index
    ]


def find_contradictions(pairs: PairFeatures) -> list[tuple[int, int]]:
    """Return each pair that another one has the other way round, with the first such other; those of one question stand together."""
    places: defaultdict[tuple[bytes, bytes], list[int]] = defaultdict(list)
    for index, answers in enumerate(pairs.answers):
        places[answers].append(index)
    contradictions = [
        (index, places[rejected, chosen][0])
        for index, (chosen, rejected) in enumerate(pairs.answers)
        if (rejected, chosen) in places
    ]
    return sorted(contradictions, key=lambda item: (min(item), item[0]))
