"""Each rank gets its part: nothing twice, nothing left out, and none waits long for another."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from prefd.daemon.worker.ranks.shares import divide


@given(st.lists(st.integers(1, 5000), max_size=40), st.integers(1, 9))
def test_every_index_is_in_one_share_and_the_first_rank_has_something(costs: list[int], ranks: int) -> None:
    shares = divide(costs, ranks)
    assert len(shares) == ranks
    assert sorted(index for share in shares for index in share) == list(range(len(costs)))
    assert all(share == sorted(share) for share in shares)
    assert shares[0] or not costs
    loads = [sum(costs[index] for index in share) for share in shares]
    least = max([-(-sum(costs) // ranks), *costs], default=0)
    assert max(loads) <= 4 / 3 * least + max(costs, default=0) / 3


def test_the_same_costs_are_divided_alike() -> None:
    assert divide([9, 1, 1, 1], 2) == [[0], [1, 2, 3]]
    assert divide([7], 3) == [[0], [], []]
