"""`describe_zero_gradients` tells of a loss that teaches nothing: its gradient is exactly zero at the first step.

A smooth loss has a gradient wherever the policy is, and a hinge has one where the policy is the reference. So zero at the
first step is a loss that does not depend on the policy (a `stop_gradient` too many), or pairs whose two answers are the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence


def describe_zero_gradients(steps: Sequence[Mapping[str, float]], total: int) -> str | None:
    """Return a warning in words; None where the gradient of the first step is not zero, or that step is not known.

    `steps`: the metrics of the reported steps, in their order. `total`: how many steps were taken.
    """
    if not steps or steps[0].get("step") != 1 or steps[0].get("grad_norm") != 0:
        return None
    if all(step.get("grad_norm") == 0 for step in steps) and (len(steps) > 1 or total == 1):
        where = f"all of the {total} steps" if total > 1 else "the only step"
        where += "" if len(steps) == total or total == 1 else f", as far as they were reported ({len(steps)})"
    else:
        where = "the first step"
    return (
        f"the gradient was 0 at {where}, so nothing was learned there: the loss does not depend on the policy (try "
        "`prefd check-loss` with its name), or both answers of each pair are the same"
    )
