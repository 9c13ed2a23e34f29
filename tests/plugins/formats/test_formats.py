"""Row formats: which rows each takes, and the pair it makes of them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefd.plugins import formats
from prefd.plugins.formats.implicit_text import split_point
from prefd.plugins.types import Pair, RowFormat, UnusableRow

BUILT_IN: dict[str, RowFormat] = {}
formats.register_formats(BUILT_IN.__setitem__)


def user(content: str) -> dict[str, str]:
    return {"role": "user", "content": content}


def answer(content: str) -> dict[str, str]:
    return {"role": "assistant", "content": content}


def reason(name: str, row: dict[str, Any]) -> str:
    with pytest.raises(UnusableRow) as caught:
        BUILT_IN[name].pair(row)
    return str(caught.value)


ROWS = {
    "explicit": [
        {"prompt": "Q", "chosen": "a", "rejected": "b"},
        {"prompt": [user("Q")], "chosen": [answer("a")], "rejected": [answer("b")]},
        {"prompt": [user("Q")], "chosen": "a", "rejected": [answer("b")]},
        {"prompt": "Q", "chosen": [answer("a"), user("more?"), answer("c")], "rejected": [answer("b")]},
    ],
    "implicit_messages": [
        {"chosen": [user("Q"), answer("a")], "rejected": [user("Q"), answer("b")]},
        {"prompt": "Q", "chosen": [user("Q"), answer("a")], "rejected": [user("Q"), answer("b")]},
        {"prompt": None, "chosen": [user("Q"), answer("a")], "rejected": [user("Q"), answer("b")]},
    ],
    "hh": [
        {"chosen": "\n\nHuman: Q\n\nAssistant: a", "rejected": "\n\nHuman: Q\n\nAssistant: b"},
        {"prompt": "\n\nHuman: Q\n\nAssistant:", "chosen": " a", "rejected": " b"},
        {"prompt": "\n\nHuman: Q", "chosen": "a", "rejected": "b"},
    ],
    "implicit_text": [
        {"chosen": "Q: x A: a", "rejected": "Q: x A: b"},
        {"prompt": None, "chosen": "Q: x A: a", "rejected": "Q: x A: b"},
    ],
}


@pytest.mark.parametrize("name", ROWS)
def test_each_row_is_of_its_own_format(name: str) -> None:
    others = {"hh": {"implicit_text", "explicit"}}.get(name, set())  # a transcript is text as well
    for row in ROWS[name]:
        matching = {format_name for format_name, row_format in BUILT_IN.items() if row_format.matches(row)}
        assert name in matching
        assert matching - {name} <= others


def test_general_formats_are_registered_before_special_ones() -> None:
    general_to_special = ["implicit_text", "unpaired", "grouped", "ranked", "winner"]
    general_to_special += ["explicit", "listed", "implicit_messages", "hh", "openai", "summaries"]
    assert [name for name in BUILT_IN if name in general_to_special] == general_to_special


def test_no_two_formats_have_the_same_precedence() -> None:
    modules = formats.list_modules()
    assert len({module.PRECEDENCE for module in modules}) == len(modules) >= 11


def test_each_format_says_which_columns_it_reads() -> None:
    shapes = {module.__name__.rpartition(".")[2]: module.ROW_SHAPES for module in formats.list_modules()}
    for each in shapes.values():
        assert each
        for shape in each:
            assert "`" in shape.columns
            assert shape.reading


@pytest.mark.parametrize(
    "row",
    [
        {},
        {"prompt": "Q", "chosen": 5, "rejected": "b"},
        {"prompt": "Q", "chosen": "a"},
        {"prompt": "Q", "chosen": None, "rejected": "b"},
        {"prompt": "Q", "chosen": ["a", 5], "rejected": ["b"]},
        {"prompt": "Q", "chosen": [{"content": "a"}], "rejected": [{"content": "b"}]},
        {"prompt": "Q", "chosen": [{"role": "assistant", "content": 5}], "rejected": "b"},
        {"prompt": 1, "chosen": "a", "rejected": "b"},
    ],
)
def test_wrong_types_match_no_format(row: dict[str, Any]) -> None:
    assert not [name for name, row_format in BUILT_IN.items() if row_format.matches(row)]


class TestExplicit:
    def test_texts_are_kept_as_they_are(self) -> None:
        assert BUILT_IN["explicit"].pair({"prompt": "Q\n", "chosen": " a ", "rejected": "b"}) == Pair("Q\n", " a ", "b")

    def test_padding_of_parquet_structs_is_dropped(self) -> None:
        padded = {"role": "assistant", "content": "a", "tool_calls": None, "name": None}
        pair = BUILT_IN["explicit"].pair({"prompt": [user("Q")], "chosen": [padded], "rejected": [answer("b")]})
        assert pair == Pair([user("Q")], [answer("a")], [answer("b")])

    @pytest.mark.parametrize("as_json", [False, True])
    def test_tools_and_template_arguments_are_read(self, as_json: bool) -> None:
        tools: Any = [{"type": "function", "function": {"name": "now", "description": None}}]
        kwargs: Any = {"enable_thinking": False, "other": None}
        if as_json:
            tools, kwargs = '[{"type": "function", "function": {"name": "now"}}]', '{"enable_thinking": false}'
        row = {"prompt": "Q", "chosen": "a", "rejected": "b", "tools": tools, "chat_template_kwargs": kwargs}
        pair = BUILT_IN["explicit"].pair(row)
        assert pair.tools == [{"type": "function", "function": {"name": "now"}}]
        assert pair.chat_template_kwargs == {"enable_thinking": False}

    def test_empty_optional_columns_are_none(self) -> None:
        row = {"prompt": "Q", "chosen": "a", "rejected": "b", "tools": "", "chat_template_kwargs": None}
        assert BUILT_IN["explicit"].pair(row) == Pair("Q", "a", "b")

    @pytest.mark.parametrize(
        ("change", "expected"),
        [
            ({"chosen": " \n"}, "empty completion"),
            ({"rejected": []}, "empty completion"),
            ({"rejected": [answer("")]}, "empty completion"),
            ({"chosen": "b"}, "identical sides"),
            ({"chosen": 5}, "wrong types: chosen is a number, not text or chat messages"),
            ({"chosen": None}, "wrong types: chosen is missing, not text or chat messages"),
            ({"chosen": ["x"]}, "wrong types: chosen is a list, not text or chat messages"),
            ({"chosen": {"a": 1}}, "wrong types: chosen is an object, not text or chat messages"),
            ({"prompt": True}, "wrong types: prompt is a boolean, not text or chat messages"),
            ({"chosen": [user("Q"), answer("a")]}, "a side begins before the answer"),
            ({"tools": "[nope"}, "wrong types: tools is text that is not JSON"),
            ({"tools": '{"a": 1}'}, "wrong types: tools is an object, not a list"),
            ({"tools": ["now"]}, "wrong types: tools is not a list of objects"),
            ({"chat_template_kwargs": [1]}, "wrong types: chat_template_kwargs is a list, not an object"),
        ],
    )
    def test_unusable_rows_say_why(self, change: dict[str, Any], expected: str) -> None:
        assert reason("explicit", {"prompt": "Q", "chosen": "a", "rejected": "b"} | change) == expected

    def test_a_tool_call_without_text_is_an_answer(self) -> None:
        call = {"role": "assistant", "content": None, "tool_calls": [{"type": "function", "function": {"name": "now"}}]}
        pair = BUILT_IN["explicit"].pair({"prompt": "Q", "chosen": [call], "rejected": "b"})
        tool_call = {"type": "function", "function": {"name": "now", "arguments": {}}}
        assert pair.chosen == [{"role": "assistant", "content": "", "tool_calls": [tool_call]}]


class TestImplicitMessages:
    def test_shared_messages_are_the_prompt(self) -> None:
        shared = [{"role": "system", "content": "s"}, user("1"), answer("x"), user("2")]
        pair = BUILT_IN["implicit_messages"].pair(
            {"chosen": [*shared, answer("a")], "rejected": [*shared, answer("b")]}
        )
        assert pair == Pair(shared, [answer("a")], [answer("b")])

    @pytest.mark.parametrize(
        ("turn", "key"),
        [
            (lambda place: user("Q") | {"id": place}, "'id'"),
            (lambda place: user("Q") | {"at": place, "by": f"user-{place}"}, "'at', 'by'"),
            (lambda place: user("Q") | ({"rating": 5} if place else {}), "'rating'"),
        ],
    )
    def test_turns_that_are_the_same_but_for_a_key_are_refused(self, turn: Any, key: str) -> None:
        for before in ([], [user("P"), answer("O")]):
            row = {side: [*before, turn(place), answer(side)] for place, side in enumerate(("chosen", "rejected"))}
            assert reason("implicit_messages", row) == (
                f"both sides have the same user message but for {key}, so they part before their answers do; give it the same "
                "value in both, or take it out of the messages"
            )

    def test_a_call_with_another_id_on_each_side_is_no_answer(self) -> None:
        def called(name: str) -> dict[str, Any]:
            return {"role": "assistant", "content": "", "tool_calls": [{"id": name, "function": {"name": "f"}}]}

        sides = {
            side: [user("Q"), called(side), {"role": "tool", "content": "sunny"}, answer(side)]
            for side in ("chosen", "rejected")
        }
        assert reason("implicit_messages", sides).startswith(
            "both sides have the same assistant message but for 'tool_calls.id', so they part before their answers do"
        )

    def test_answers_that_differ_in_a_key_too_are_answers(self) -> None:
        row = {"chosen": [user("Q"), answer("a") | {"id": "1"}], "rejected": [user("Q"), answer("b") | {"id": "2"}]}
        pair = BUILT_IN["implicit_messages"].pair(row)
        assert pair.prompt == [user("Q")]

    def test_sides_may_go_on_after_the_answer(self) -> None:
        chosen = [user("Q"), answer("a"), user("and?"), answer("c")]
        pair = BUILT_IN["implicit_messages"].pair({"chosen": chosen, "rejected": [user("Q"), answer("b")]})
        assert pair == Pair([user("Q")], chosen[1:], [answer("b")])

    @pytest.mark.parametrize(
        ("chosen", "rejected", "expected"),
        [
            ([user("Q"), answer("a")], [user("Q"), answer("a")], "identical sides"),
            ([user("Q")], [user("Q"), answer("a")], "one side is the start of the other"),
            ([user("Q"), answer("a")], [user("P"), answer("a")], "the sides part before the answer"),
            ([user("Q"), answer("")], [user("Q"), answer("a")], "empty completion"),
            ([answer("a")], [answer("b")], "empty prompt"),
            ([user("Q"), answer("a")], "b", "wrong types: one side is text, not chat messages"),
        ],
    )
    def test_unusable_rows_say_why(self, chosen: Any, rejected: Any, expected: str) -> None:
        assert reason("implicit_messages", {"chosen": chosen, "rejected": rejected}) == expected

    @pytest.mark.parametrize("prompt", ["Q", " Q\n", "", [user("Q")], []])
    def test_a_prompt_column_that_agrees_changes_nothing(self, prompt: Any) -> None:
        row = {"chosen": [user("Q"), answer("a")], "rejected": [user("Q"), answer("b")]}
        assert BUILT_IN["implicit_messages"].pair(row | {"prompt": prompt}) == BUILT_IN["implicit_messages"].pair(row)

    @pytest.mark.parametrize("prompt", ["P", [user("P")], [user("Q"), answer("a")]])
    def test_a_prompt_column_that_disagrees_is_refused(self, prompt: Any) -> None:
        row = {"chosen": [user("Q"), answer("a")], "rejected": [user("Q"), answer("b")], "prompt": prompt}
        assert reason("implicit_messages", row) == (
            "the prompt column is not what the conversations begin with; leave it out (data.ignore_columns: [prompt])"
        )


class TestHH:
    def test_turns_become_messages(self) -> None:
        head = "\n\nHuman: Hi, I want to learn.\n\nAssistant: Great!\nWhat?\n\nHuman: Horses.\n\nAssistant:"
        pair = BUILT_IN["hh"].pair({"chosen": f"{head} Which kind?", "rejected": f"{head} What?\n\nNo."})
        assert pair == Pair(
            [user("Hi, I want to learn."), answer("Great!\nWhat?"), user("Horses.")],
            [answer("Which kind?")],
            [answer("What?\n\nNo.")],
        )

    def test_every_shape_of_it_gives_the_same_pair(self) -> None:
        pairs = [BUILT_IN["hh"].pair(row) for row in ROWS["hh"]]
        both = {
            "prompt": "\n\nHuman: Q\n\nAssistant:",
            "chosen": "\n\nHuman: Q\n\nAssistant: a",
            "rejected": "\n\nHuman: Q\n\nAssistant: b",
        }
        assert [*pairs, BUILT_IN["hh"].pair(both)] == [Pair([user("Q")], [answer("a")], [answer("b")])] * 4

    def test_answers_that_begin_alike_stay_whole(self) -> None:
        head = "\n\nHuman: Q\n\nAssistant: The answer is"
        pair = BUILT_IN["hh"].pair({"chosen": f"{head} one.", "rejected": f"{head} two."})
        assert pair.chosen == [answer("The answer is one.")]

    def test_a_colon_word_inside_an_answer_is_no_turn(self) -> None:
        pair = BUILT_IN["hh"].pair(
            {"chosen": "\n\nHuman: Q\n\nAssistant: say Human: hi", "rejected": "\n\nHuman: Q\n\nAssistant: b"}
        )
        assert pair.chosen == [answer("say Human: hi")]

    @pytest.mark.parametrize(
        ("chosen", "expected"),
        [
            ("\n\nHuman: Q\n\nAssistant: b", "identical sides"),
            ("\n\nHuman: Q\n\nAssistant:", "empty completion"),
            ("\n\nHuman: P\n\nAssistant: a", "the sides part before the answer"),
            ("\n\nHuman: Q", "one side is the start of the other"),
            ("Q?", "chosen is not a transcript that begins with 'Human:'"),
            ([answer("a")], "wrong types: messages where a transcript was expected"),
        ],
    )
    def test_unusable_rows_say_why(self, chosen: Any, expected: str) -> None:
        assert reason("hh", {"chosen": chosen, "rejected": "\n\nHuman: Q\n\nAssistant: b"}) == expected


class TestImplicitText:
    @pytest.mark.parametrize(
        ("chosen", "rejected", "prompt"),
        [
            ("Q: 2+2? A: Four.", "Q: 2+2? A: Five.", "Q: 2+2? A:"),  # both begin with F
            ("Q: hi", "Q: hi there", "Q:"),  # one is the start of the other
            ("a red apple", "a redness", "a"),  # a word that goes on in one side only
            ("Q:\n\nYes", "Q:\n\nNo", "Q:"),  # the run of whitespace goes to the answers, whole
            ("Q: x\tA", "Q: x B", "Q: x"),
            ("问：二加二？答：四。", "问：二加二？答：五。", "问：二加二？答："),  # no spaces between words
            ("Is it? Yes ", "Is it? No", "Is it?"),
        ],
    )
    def test_the_split_is_between_words(self, chosen: str, rejected: str, prompt: str) -> None:
        pair = BUILT_IN["implicit_text"].pair({"chosen": chosen, "rejected": rejected})
        cut = len(prompt)
        assert pair == Pair(prompt, chosen[cut:].rstrip(), rejected[cut:].rstrip())

    @pytest.mark.parametrize(
        ("chosen", "rejected", "expected"),
        [
            ("same", "same", "identical sides"),
            ("same ", "same\n", "identical sides"),
            ("", "x", "empty completion"),
            ("one", "two", "empty prompt"),
            ("oneself", "ones", "empty prompt"),
            ("  one", "  two", "empty prompt"),
            (1, "x", "wrong types: chosen and rejected must be text, without a prompt column"),
        ],
    )
    def test_unusable_rows_say_why(self, chosen: Any, rejected: Any, expected: str) -> None:
        assert reason("implicit_text", {"chosen": chosen, "rejected": rejected}) == expected

    @given(
        shared=st.text("ab \n四é\u0301", max_size=8), a=st.text("ab \n四", max_size=6), b=st.text("ab \n四", max_size=6)
    )
    def test_nothing_is_lost_at_the_split(self, shared: str, a: str, b: str) -> None:
        chosen, rejected = (shared + a).rstrip(), (shared + b).rstrip()
        try:
            pair = BUILT_IN["implicit_text"].pair({"chosen": chosen, "rejected": rejected})
        except UnusableRow:
            return
        assert (f"{pair.prompt}{pair.chosen}", f"{pair.prompt}{pair.rejected}") == (chosen, rejected)
        assert pair.prompt == str(pair.prompt).rstrip()
        assert str(pair.prompt).strip()
        assert str(pair.chosen).strip()
        assert str(pair.rejected).strip()

    @given(st.text(min_size=1), st.text(min_size=1))
    def test_the_split_point_is_shared(self, a: str, b: str) -> None:
        cut = split_point(a, b)
        assert a[:cut] == b[:cut]
        assert cut < len(a)
        assert cut < len(b)

    @pytest.mark.parametrize(
        "prompt",
        [
            "<|im_start|>user\nQ<|im_end|>\n<|im_start|>assistant\n",
            "<|start_header_id|>user<|end_header_id|>\n\nQ<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n",
            "<start_of_turn>user\nQ<end_of_turn>\n<start_of_turn>model\n",
            "<s>[INST] Q [/INST]",
        ],
    )
    @pytest.mark.parametrize("answers", [("Yes.", "No."), ("It is so.", "It is not."), (" Yes.", " No.")])
    def test_the_prompt_of_a_templated_row_ends_where_generation_begins(
        self, prompt: str, answers: tuple[str, str]
    ) -> None:
        pair = BUILT_IN["implicit_text"].pair({"chosen": prompt + answers[0], "rejected": prompt + answers[1]})
        assert (pair.prompt, pair.chosen, pair.rejected) == (prompt, *answers)
