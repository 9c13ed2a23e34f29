"""`divide` gives each rank its part of the work: the heaviest first, each to the rank that has least."""

from __future__ import annotations

from collections.abc import Sequence


def divide(costs: Sequence[int], ranks: int) -> list[list[int]]:
    """Divide what costs so much each among `ranks`: a list of indices for each rank, in rising order, empty where there is nothing left.

    Every index is in one list, and the same costs are divided alike each time. The first rank has something wherever there is
    anything. No rank has more than 4/3 of the least that the busiest could have (Graham, Bounds on Multiprocessing Timing
    Anomalies, 1969).
    """
    shares: list[list[int]] = [[] for _ in range(ranks)]
    loads = [0] * ranks
    for index in sorted(range(len(costs)), key=lambda index: (-costs[index], index)):
        rank = min(range(ranks), key=lambda each: (loads[each], len(shares[each]), each))
        shares[rank].append(index)
        loads[rank] += costs[index]
    return [sorted(share) for share in shares]
