"""Shows a preview: every pair as three blocks of text with a bar beside them, and above them what holds for all pairs.

Nothing in a block is invisible: line ends, tabs, spaces at its edges and characters that print nothing have a sign. The
signs and words are the same with and without colour.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from prefd.daemon.text.wording import pluralize

if TYPE_CHECKING:  # pydantic comes with them
    from prefd.daemon.runs.data_summary import DataSummary
    from prefd.daemon.specs.summary import Fact
    from prefd.daemon.worker_tasks.previews import LengthSpan, Part, Preview, ShownPair

HEAD, TAIL = 120, 60
"""Tokens of a long block that are shown before and after what is left out of it."""
SPARED = 20
"""No gap is smaller than this: the words for it would take as much room."""
COLORS = {"prompt": "cyan", "chosen": "green", "rejected": "red"}
BARS = {"prompt": "│", "chosen": "┃", "rejected": "┃"}
SIGNS = {"\n": "⏎\n", "\t": "⇥"}
SPACE = "·"
UNCOUNTED = ("⟪", "⟫")
COUNTS = {"trained on": "trained on", "held out": "evaluated on", "scored": "scored"}
"""Use of a pair → what the tokens of its answers are."""
PLAIN = ("columns read: ", "the chat template prints the date")
"""Lines of a data report that tell of nothing doubtful begin so, or with their source."""
INDENT = "  "
NAMES = max(map(len, COLORS)) + 2


def overview_facts(preview: Preview) -> list[Fact]:
    """Lists what is to be known of all the pairs."""
    template = (
        "with its chat template" if preview.chat_template else "without a chat template: texts are read as they are"
    )
    facts: list[Fact] = [("model", f"{preview.model}, {template}")]
    facts += data_facts("data", preview.data)
    spans = [
        f"{name} {_describe_span(span, 'median ' if number == 0 else '')}"
        for number, (name, span) in enumerate(preview.tokens.items())
    ]
    ends = " or ".join(make_visible(text).plain for text in preview.ends) or "nothing: all are cut"
    facts.append(("tokens", ", ".join(spans)))
    return [*facts, ("", f"prompt and answer at most {preview.max_length}; whole answers end with {ends}")]


def data_facts(name: str, data: DataSummary) -> list[Fact]:
    """Lists the lines of a data report, with what someone should look at in yellow."""
    return [
        (name if number == 0 else "", make_visible(line, _choose_line_style(line, data)))
        for number, line in enumerate(data.lines)
    ]


def pair_lines(pair: ShownPair, console: Console, full: bool = False, tokens: bool = False) -> Iterator[Text]:
    """Yields one pair, in lines no wider than the console. `full`: nothing is left out; `tokens`: a line for each."""
    yield _draw_rule(f"{pair.place}, {pair.use} ", min(console.width, 80))
    for remark in pair.remarks:
        yield from Text(f"! {remark}", style="yellow").wrap(console, console.width)
    for name, color in COLORS.items():
        part: Part = getattr(pair, name)
        yield Text.assemble((f"{name:<{NAMES}}", f"bold {color}"), (_describe_part(name, part, pair.use), color))
        block = token_lines(part, full) if tokens else text_lines(part, console, full)
        yield from (Text(f"{INDENT}{BARS[name]} ", style=color).append_text(line) for line in block)
        if name == "prompt":
            yield Text(f"{INDENT}└── the prompt ends here; each answer goes on from it", style=color)


def text_lines(part: Part, console: Console, full: bool) -> Iterator[Text]:
    """Yields the block's text."""
    block = Text()
    last = len(part.ids) - 1
    is_answer = any(part.counted)
    for index in _select_tokens(last + 1, full):
        if index is None:
            _append_line(block, f"… {_describe_gap(last + 1)} …\n")
            continue
        if is_answer and not part.counted[index] and (index == 0 or part.counted[index - 1]):
            block.append(UNCOUNTED[0], style="bold yellow")
        block.append_text(
            make_visible(part.texts[index], _choose_token_style(part, index), first=index == 0, last=index == last)
        )
        if is_answer and not part.counted[index] and (index == last or part.counted[index + 1]):
            block.append(UNCOUNTED[1], style="bold yellow")
    if part.cut:
        _append_line(block, f"✂ {pluralize(part.cut, 'token')} cut")
    width = max(console.width - len(INDENT) - 2, 20)
    for line in block.split("\n", allow_blank=False):
        yield from line.wrap(console, width) or [Text()]


def token_lines(part: Part, full: bool) -> Iterator[Text]:
    """Yields a line for each token: its place in the block, its id, its text."""
    is_answer = any(part.counted)
    for index in _select_tokens(len(part.ids), full):
        if index is None:
            yield Text(f"… {_describe_gap(len(part.ids))} …", style="bold yellow")
            continue
        text = make_visible(part.texts[index], _choose_token_style(part, index), first=True, last=True)
        line = Text.assemble((f"{index:>5}  {part.ids[index]:>7}  ", "dim"), text)
        if not part.texts[index]:
            line.append("(the character ends with a later token)", style="dim")
        if is_answer and not part.counted[index]:
            line.append("  not trained on", style="yellow")
        yield Text().join(line.split("\n"))


def _append_line(text: Text, note: str) -> None:
    """Appends `note`, which is not of the text, on a line of its own: it has no sign of a line end before it."""
    text.append(("" if text.plain.endswith("\n") else "\n") + note, style="bold yellow")


def make_visible(text: str, style: str = "", first: bool = False, last: bool = False) -> Text:
    """Marks what would not be seen in `text`; spaces get a sign where it begins (`first`) or ends (`last`) a block."""
    leading = len(text) - len(text.lstrip(" ")) if first else 0
    trailing = len(text.rstrip(" ")) if last else len(text)
    signs = [
        (SPACE, "dim") if each == " " and not leading <= index < trailing else _find_sign(each, style)
        for index, each in enumerate(text)
    ]
    runs = groupby(signs, key=itemgetter(1))
    return Text.assemble(*(("".join(sign for sign, _ in run), run_style) for run_style, run in runs))


def _find_sign(character: str, style: str) -> tuple[str, str]:
    """Returns what is shown of a character, and its style."""
    if character in SIGNS:
        return SIGNS[character], "dim"
    if character.isprintable():
        return character, style
    return character.encode("unicode_escape").decode(), "bold yellow"


def _choose_token_style(part: Part, index: int) -> str:
    return "bold magenta" if part.special[index] else "" if part.counted[index] or not any(part.counted) else "dim"


def _describe_part(name: str, part: Part, use: str) -> str:
    count, trained_count = len(part.ids), sum(part.counted)
    tokens = pluralize(count, "token")
    if name == "prompt":
        return f"{tokens}, read and not {COUNTS[use]}"
    heading = f"{tokens}, all {COUNTS[use]}" if trained_count == count else f"{trained_count} of {tokens} {COUNTS[use]}"
    heading += "" if trained_count == count else f"; not those in {''.join(UNCOUNTED)}"
    return heading + (f"; {pluralize(part.cut, 'token')} cut from its end" if part.cut else "")


def _select_tokens(count: int, full: bool) -> Iterator[int | None]:
    """Yields the places of the tokens to show, with None for a gap."""
    if full or count < HEAD + TAIL + SPARED:
        yield from range(count)
        return
    yield from range(HEAD)
    yield None
    yield from range(count - TAIL, count)


def _describe_gap(count: int) -> str:
    return f"{count - HEAD - TAIL:,} tokens not shown (--full)"


def _draw_rule(title: str, width: int) -> Text:
    """Draws a line that sets one pair off from the next; into a pipe it is as short as its title allows."""
    return Text(title, style="bold") + Text("─" * max(width - len(title), 3), style="dim")


def _describe_span(span: LengthSpan, label: str) -> str:
    """Describes a span of lengths. `label`: what is written before the median."""
    if span.least == span.most:
        return f"{span.least:g}"
    return f"{span.least:g}–{span.most:g} ({label}{span.median:g})"


def _choose_line_style(line: str, data: DataSummary) -> str:
    sources = [each.source for each in (data, data.validation) if each is not None]
    is_plain = line.startswith((*sources, *PLAIN)) or " to train on, " in line
    return "" if is_plain else "yellow"
