"""Shows what was found in a job's pairs: the numbers of all of them, and each kind of pair that someone should look at."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from rich.text import Text

from prefd.daemon.terminal.preview import make_visible
from prefd.daemon.terminal.short_text import shorten
from prefd.daemon.text.wording import format_number, pluralize

if TYPE_CHECKING:  # pydantic comes with them
    from prefd.daemon.specs.summary import Fact
    from prefd.daemon.worker_tasks.xrays import DoubtedPairs, FoundPair, LengthBias, ReferenceView, XRay

TITLES = {
    "suspects": (
        "pair that is unlike the rest",
        "pairs that are unlike the rest",
        ": those of other prompts would turn the label round",
    ),
    "against-reference": (
        "pair that is",
        "pairs that are",
        " strongly against the reference, among those of such a difference in length",
    ),
    "contradictions": (
        "pair that contradicts another",
        "pairs that contradict each other",
        ": the same prompt and answers, the sides swapped",
    ),
    "duplicates": ("pair that repeats an earlier one", "pairs that repeat an earlier one", ""),
    "alike": ("pair", "pairs", " whose answers hardly differ"),
    "cut": ("pair", "pairs", " with an answer that was cut"),
}
"""For each kind: what one pair of it is, what several are, and what both go on with."""


def overview_facts(xray: XRay) -> list[Fact]:
    """Lists the numbers of all pairs."""
    facts: list[Fact] = [("model", xray.model)]
    facts += [("" if number else "data", make_visible(line)) for number, line in enumerate(xray.data.lines)]
    facts.append(("length", _describe_lengths(xray.lengths)))
    if xray.reference_view is None:
        facts.append(("reference", f"{xray.reference} has scored none of the pairs yet"))
    else:
        facts += [("reference", xray.reference), ("", _describe_view(xray.reference_view))]
    if (learnt := xray.predictability) is not None:
        facts.append(
            (
                "labels",
                f"predicted from other prompts' pairs with accuracy {learnt.accuracy:.3f}, {learnt.doubted:,} doubted",
            )
        )
    for number, source in enumerate(xray.sources):
        cut = f", {source.cut:,} cut" if source.cut else ""
        tokens = f"{source.prompt:,} prompt, {source.chosen:,} chosen, {source.rejected:,} rejected"
        facts.append(("" if number else "tokens", f"{source.source}: {tokens}; {pluralize(source.pairs, 'pair')}{cut}"))
    return facts


def finding_lines(finding: DoubtedPairs, full: bool) -> Iterator[Text]:
    """Yields the lines of one kind of pairs: its title, and each pair that is listed."""
    one, several, more = TITLES[finding.kind]
    title = f"{finding.total:,} {one if finding.total == 1 else several}{more}"
    yield Text(title, style="bold" if finding.total else "dim")
    for pair in finding.pairs:
        yield from pair_lines(pair, full)
    if len(finding.pairs) < finding.total:
        yield Text(f"  and {finding.total - len(finding.pairs):,} more (--only {finding.kind} --limit 0)", style="dim")


def pair_lines(pair: FoundPair, full: bool) -> Iterator[Text]:
    """Yields the lines of a pair: why it is listed, and its three texts."""
    yield Text.assemble((f"  {pair.place}", "yellow"), f"  {pair.why}")
    for name, text in (("prompt", pair.prompt), ("chosen", pair.chosen), ("rejected", pair.rejected)):
        shown = make_visible(text) if full else shorten(text, keep_end=name == "prompt")
        yield Text.assemble((f"    {name:<9}", "dim"), shown)


def _describe_lengths(bias: LengthBias) -> str:
    total = bias.longer + bias.shorter + bias.equal
    means = f"{format_number(bias.chosen_tokens)} tokens chosen, {format_number(bias.rejected_tokens)} rejected"
    return f"the longer answer wins in {bias.longer:,} of {total:,}; taking it is right {bias.accuracy:.1%}; {means}"


def _describe_view(view: ReferenceView) -> str:
    accuracy = f"finds the chosen answer likelier in {view.accuracy:.1%} of {pluralize(view.pairs, 'pair')}"
    return f"{accuracy} (per token: {view.mean_accuracy:.1%}); mean margin {format_number(view.margin)} nats"
