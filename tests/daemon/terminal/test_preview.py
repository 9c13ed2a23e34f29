"""How a preview looks: what counts and what does not, nothing invisible, nothing left out without a word."""

from __future__ import annotations

from dataclasses import replace

import pytest
from rich.console import Console
from rich.text import Text

from prefd.daemon.runs.data_summary import DataSummary
from prefd.daemon.terminal.preview import data_facts, make_visible, pair_lines
from prefd.daemon.worker_tasks.previews import Part, ShownPair


def part(*texts: str, counted: list[bool] | None = None, cut: int = 0) -> Part:
    special = [text.startswith("<|") for text in texts]
    return Part(range(10, 10 + len(texts)), texts, special, counted or [True] * len(texts), cut)


def prompt(*texts: str) -> Part:
    return part(*texts, counted=[False] * len(texts))


PAIR = ShownPair(
    "row 7",
    "trained on",
    prompt("<|user|>", "Say", " hi", "\n"),
    part("Hello", ".", "<|end|>"),
    part(" No", "!", "<|end|>"),
    ("mind the gap",),
)


def drawn(pair: ShownPair, width: int = 40, **options: bool) -> list[str]:
    return [line.plain for line in pair_lines(pair, Console(width=width), **options)]


def block(pair: ShownPair, width: int = 40, **options: bool) -> list[str]:
    """The lines of the chosen answer."""
    lines = drawn(pair, width, **options)
    names = [line.partition(" ")[0] for line in lines]
    return lines[names.index("chosen") : names.index("rejected")]


def test_a_pair_as_a_whole() -> None:
    assert drawn(PAIR) == [
        "row 7, trained on ──────────────────────",
        "! mind the gap",
        "prompt    4 tokens, read and not trained on",
        "  │ <|user|>Say hi⏎",
        "  └── the prompt ends here; each answer goes on from it",
        "chosen    3 tokens, all trained on",
        "  ┃ Hello.<|end|>",
        "rejected  3 tokens, all trained on",
        "  ┃ ·No!<|end|>",
    ]


def test_each_token_on_a_line_with_its_id() -> None:
    assert block(PAIR, tokens=True)[1:] == [
        "  ┃     0       10  Hello",
        "  ┃     1       11  .",
        "  ┃     2       12  <|end|>",
    ]


@pytest.mark.parametrize(
    ("use", "words"), [("held out", "all evaluated on"), ("scored", "all scored"), ("trained on", "all trained on")]
)
def test_what_a_pair_is_used_for(use: str, words: str) -> None:
    assert block(replace(PAIR, use=use))[0] == f"chosen    3 tokens, {words}"


def test_tokens_that_do_not_count_are_marked() -> None:
    chosen = part("I", " look", "<|end|>", "<|tool|>", "42", "<|end|>", "It", " is", "<|end|>")
    chosen = replace(chosen, counted=[True] * 3 + [False] * 3 + [True] * 3)
    pair = replace(PAIR, chosen=chosen)
    assert block(pair) == [
        "chosen    6 of 9 tokens trained on; not those in ⟪⟫",
        "  ┃ I look<|end|>⟪<|tool|>42<|end|>⟫It ",
        "  ┃ is<|end|>",
    ]
    assert block(pair, 60, tokens=True)[4:6] == [
        "  ┃     3       13  <|tool|>  not trained on",
        "  ┃     4       14  42  not trained on",
    ]


def test_a_cut_answer_ends_with_what_it_lost() -> None:
    assert block(replace(PAIR, chosen=part("Hel", "lo", cut=12)), 80) == [
        "chosen    2 tokens, all trained on; 12 tokens cut from its end",
        "  ┃ Hello",
        "  ┃ ✂ 12 tokens cut",
    ]


def test_long_texts_lose_their_middle_and_say_how_much() -> None:
    long = replace(PAIR, chosen=part(*[f"{number} " for number in range(1000)]))
    lines = block(long)
    gap = lines.index("  ┃ … 820 tokens not shown (--full) …")
    assert lines[gap - 1].split()[-1] == "119"
    assert lines[gap + 1].split()[1] == "940"
    words = [word for line in block(long, full=True)[1:] for word in line.split()[1:]]
    assert words == [*map(str, range(999)), "999·"]
    assert len(block(long, tokens=True)) == 1 + 120 + 1 + 60


def test_a_text_that_is_hardly_too_long_is_shown_whole() -> None:
    assert "not shown" not in "".join(block(replace(PAIR, chosen=part(*["x"] * 199))))
    assert "20 tokens not shown" in "".join(block(replace(PAIR, chosen=part(*["x"] * 200))))


@pytest.mark.parametrize("width", [40, 80, 120])
def test_no_line_of_text_is_wider_than_the_terminal_and_each_has_its_bar(width: int) -> None:
    lines = block(replace(PAIR, chosen=part(*["word "] * 50, "日本語" * 40, "<|end|>")), width)
    assert len(lines) > 3
    assert all(line.startswith("  ┃ ") for line in lines[1:])
    assert max(Console(width=999).measure(line).maximum for line in lines) <= width


@pytest.mark.parametrize(
    ("text", "signs"),
    [
        ("a\n\nb", "a⏎\n⏎\nb"),
        ("\tx", "⇥x"),
        ("\x1b[31mred", "\\x1b[31mred"),
        ("zero\u200bwidth\u202e", "zero\\u200bwidth\\u202e"),
        ("a\xa0b", "a\\xa0b"),
        ("naïve 日本 🙂", "naïve 日本 🙂"),
        ("  in  between  ", "··in  between··"),
        ("[bold]not markup[/bold]", "[bold]not markup[/bold]"),
    ],
)
def test_nothing_is_invisible(text: str, signs: str) -> None:
    assert make_visible(text, first=True, last=True).plain == signs


def test_a_token_within_a_character_says_so() -> None:
    assert block(replace(PAIR, chosen=part("", "é")), 80, tokens=True)[1:] == [
        "  ┃     0       10  (the character ends with a later token)",
        "  ┃     1       11  é",
    ]


def test_what_to_look_at_in_the_report_stands_out_and_no_column_name_controls_the_terminal() -> None:
    lines = [
        "/a.jsonl: 3 rows in format explicit, 2 usable",
        "columns not read: \x1b[2J",
        "2 pairs to train on, 0 held out",
    ]
    facts = data_facts("data", DataSummary(source="/a.jsonl", validation=None, lines=lines))
    marks = [(name, text.plain, [span.style for span in text.spans]) for name, text in facts if isinstance(text, Text)]
    assert marks == [
        ("data", lines[0], []),
        ("", "columns not read: \\x1b[2J", ["yellow", "bold yellow", "yellow"]),
        ("", lines[2], []),
    ]
