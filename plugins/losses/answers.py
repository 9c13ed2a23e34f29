"""What losses of single answers share: their weights, and the log-ratios of the answers and of the mismatched ones.

With π the policy, r = β (log π(y|x) − log ref(y|x)), the sum over completion tokens.
"""

from __future__ import annotations

from typing import Annotated

import mlx.core as mx

from prefd.plugins.losses.dpo import logratio
from prefd.plugins.schema import Range
from prefd.plugins.types import UnpairedInput

Weight = Annotated[float, Range(at_least=0), "how much good answers count; make it larger where they are the fewer"]
UndesirableWeight = Annotated[Weight, "how much bad answers count; make it larger where they are the fewer"]


def logratios(x: UnpairedInput) -> tuple[mx.array, mx.array]:
    """Computes log π(y|x) − log ref(y|x) of the answers and of the mismatched ones, (B,). Raises ValueError without a reference."""
    if x.reference is None or x.reference_mismatched is None:
        raise ValueError("this loss compares with a reference, and the batch has none")
    return (
        logratio(x.policy, x.reference, length_normalize=False),
        logratio(x.policy_mismatched, x.reference_mismatched, length_normalize=False),
    )
