"""What a reference costs over one epoch, two, five, and a sweep of eight jobs: of times measured for one epoch, by arithmetic."""

from __future__ import annotations

from collections.abc import Mapping

WAYS = {
    "cached": "scored before training, once",
    "adapter-off": "`live: adapter_off`, kept",
    "unkept": "`live: adapter_off`, `store: false`",
    "live": "a second model, at each step",
    "peer": "mlx-lm-lora 5.10.2",
}
SPANS = {"one epoch": (1, 1), "two": (1, 2), "five": (1, 5), "a sweep of eight": (8, 1)}


def list_costs(scoring: float, epochs: Mapping[str, float]) -> list[str]:
    """A table of times as multiples of the cached way's. `scoring`: seconds of the reference pass; `epochs`: those of one epoch by variant."""
    base = {name: scoring + jobs * count * epochs["cached"] for name, (jobs, count) in SPANS.items()}
    lines = ["| against a reference " + "".join(f" | {name}" for name in SPANS) + " |", "|---" * (1 + len(SPANS)) + "|"]
    for way, title in WAYS.items():
        source = "adapter-off" if way == "unkept" else way
        if source not in epochs:
            continue
        cells = []
        for name, (jobs, count) in SPANS.items():
            times = jobs * count
            if way == "cached":
                seconds = base[name]
            elif way == "adapter-off":
                seconds = epochs[way] + (times - 1) * epochs["cached"]
            else:
                seconds = times * epochs[source]
            cells.append(f"{seconds / base[name]:.2f}")
        lines.append(f"| {title} | {' | '.join(cells)} |")
    return lines
