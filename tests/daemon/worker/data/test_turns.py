"""Of an answer with several turns, only the assistant's own tokens count."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as settings_of_hypothesis
from hypothesis import strategies as st

from prefd.daemon.worker.data.tokens import Completion, Encoder
from prefd.plugins.types import Pair, Text, UnusableRow
from support import tiny_model
from support.chat_templates import AS_OBJECT, END, EOS, INST, SPOKEN, answer, call, user
from support.encoded_pairs import Load, own, reason

# A thinking block is dropped from every turn but the last, as Qwen3's template does.
FORGETS = (
    "{% for m in messages %}{% set c = m.content %}{% if m.role == 'assistant' and not loop.last %}"
    "{% set c = c.split('</think>')[-1] %}{% endif %}{{ '<|im_start|>' + m.role + '\n' + c + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
# The last answer ends otherwise than earlier ones, as gpt-oss's, Phi-3's and Vicuna's do.
CHANNELS = (
    "{% for m in messages %}{% if m.role == 'assistant' %}{{ '<|im_start|>assistant<|channel|>final<|message|>' + m.content }}"
    "{{ '<|endoftext|>' if loop.last else '<|im_end|>' }}{% else %}{{ '<|im_start|>' + m.role + '<|message|>' + m.content }}"
    "{{ '<|im_end|>' }}{% endif %}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant' }}{% endif %}"
)
ENDS_ONCE = tiny_model.CHATML.replace("{% endif %}", "{% else %}{{ '<|endoftext|>' }}{% endif %}")
OTHER_LAST = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content }}"
    "{{ '<|endoftext|>' if loop.last and m.role == 'assistant' else '<|im_end|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)

LOADED: dict[str | None, Any] = {}
"""Tokenizers by template, for a test of many examples."""


class TestTurns:
    NOTE = "1 pair whose answer has several turns: only the assistant's own tokens count"

    def check(self, tokenizer: Any, side: Text, expected: list[str]) -> Completion:
        encoder = Encoder(tokenizer, 1000)
        example = encoder.encode(Pair("q", side, "b"), 1)
        assert own(tokenizer, example.chosen) == expected
        assert self.NOTE in encoder.notes()
        assert example.rejected.own_mask is None
        return example.chosen

    def test_a_side_of_which_truncation_leaves_nothing_that_counts_is_not_used(self, load: Load) -> None:
        side = [answer("a b c d e f g h", weight=0), user("more"), answer("c")]
        encoder = Encoder(load(), 30)
        with pytest.raises(UnusableRow, match="nothing of the assistant's own is left of a side after truncation"):
            encoder.encode(Pair("q", side, "b"), 1)
        assert encoder.truncated == 0
        assert Encoder(load(), 100).encode(Pair("q", side, "b"), 1).chosen.own.sum() == 2

    def test_only_the_assistants_tokens_count_each_turn_with_its_eos(self, load: Load) -> None:
        tokenizer = load()
        side = self.check(tokenizer, [answer("a b"), user("more"), answer("c")], [f"a b{END}", f"c{END}"])
        ids = side.ids[side.start :].tolist()
        first, rest = tokenizer.encode("a b", add_special_tokens=False), ids.index(2) + 1
        assert side.own.tolist() == [True] * (len(first) + 1) + [False] * (len(ids) - rest - 2) + [True] * 2
        assert not side.own.flags.writeable

    def test_calls_and_their_results(self, load: Load) -> None:
        turns = [call(), {"role": "tool", "content": "sunny"}, answer("Sunny")]
        self.check(load(AS_OBJECT), turns, [f'<call>weather{{"city": "Rome"}}</call>{END}', f"Sunny{END}"])

    def test_without_a_template(self, load: Load) -> None:
        self.check(load(None), [answer("a"), user("more"), answer("c")], [" a", f" c{END}"])

    def test_a_template_without_words_around_turns(self, load: Load) -> None:
        self.check(load(INST), [answer("a"), user("more"), answer("c")], [f" a{END}", f" c{END}"])

    def test_an_earlier_turn_that_later_ones_change_is_found_by_its_content(self, load: Load) -> None:
        turns = [answer("why</think>a b"), user("more"), answer("why</think>c")]
        self.check(load(FORGETS), turns, [f"a b{END}", f"why</think>c{END}"])

    def test_a_call_that_has_a_thinking_block_only_as_the_last_turn(self, load: Load) -> None:
        """Qwen3's template gives the last turn an empty one, and a turn that a tool's result follows none."""
        thinks = "('<think></think>' if m.role == 'assistant' and loop.last else '')"
        template = AS_OBJECT.replace("m.role + '\n' + m.content", f"m.role + '\n' + {thinks} + m.content")
        turns = [
            call(),
            {"role": "tool", "content": "sunny"},
            call(name="time"),
            {"role": "tool", "content": "6"},
            answer("Sunny"),
        ]
        expected = [f'<call>{name}{{"city": "Rome"}}</call>{END}' for name in ("weather", "time")]
        self.check(load(template), turns, [*expected, f"<think></think>Sunny{END}"])

    @pytest.mark.parametrize(
        ("template", "expected"),
        [
            (CHANNELS, ["<|channel|>final<|message|>yes", f"<|channel|>final<|message|>no{EOS}"]),
            (ENDS_ONCE, ["yes", f"no{END}\n{EOS}"]),
            (SPOKEN, [" yes", f" no{EOS}"]),
            (OTHER_LAST, ["yes", f"no{EOS}"]),
        ],
    )
    def test_an_earlier_turn_that_ends_otherwise_than_the_last_stops_before_the_users(
        self, load: Load, template: str, expected: list[str]
    ) -> None:
        tokenizer = load(template, 0, eos_token=EOS)
        for between in ("Bye", "yes", "no"):
            self.check(tokenizer, [answer("yes"), user(between), answer("no")], expected)

    def test_a_template_that_writes_words_otherwise(self, load: Load) -> None:
        loud = tiny_model.CHATML.replace("message['content']", "message['content'] | upper")
        self.check(load(loud), [answer("a b"), user("more"), answer("c")], [f"A B{END}", f"C{END}"])
        loud = OTHER_LAST.replace("m.content", "m.content | upper")
        with pytest.raises(UnusableRow, match="cannot be told apart"):
            self.check(load(loud, 0, eos_token=EOS), [answer("A B"), user("more"), answer("C")], [])

    def test_an_eos_of_the_users_turn_ends_no_answer(self, load: Load) -> None:
        bare = "{{ '<|im_end|>' if m.role == 'user' or loop.last }}"
        template = OTHER_LAST.replace(
            "{{ '<|endoftext|>' if loop.last and m.role == 'assistant' else '<|im_end|>' }}", bare
        )
        self.check(load(template), [answer("yes"), user("Bye yes"), answer("no")], ["yes", f"no{END}"])

    @pytest.mark.parametrize(("template", "lead"), [(tiny_model.CHATML, ""), (None, " ")])
    def test_a_turn_of_weight_0_is_read_and_not_learned(self, load: Load, template: str | None, lead: str) -> None:
        tokenizer = load(template)
        turns = [answer("a", weight=0), user("more"), answer("c", weight=1)]
        self.check(tokenizer, turns, [f"{lead}c{END}"])
        encoder = Encoder(tokenizer, 1000)
        weighed = encoder.encode(Pair("q", turns, "b"), 1).chosen
        assert "1 pair with a message of weight 0 in a side: it is read and not learned" in encoder.notes()
        others = [answer("a"), user("more") | {"weight": 0}, answer("c")]
        encoder = Encoder(tokenizer, 1000)
        whole = encoder.encode(Pair("q", others, "b"), 1).chosen
        assert not any("weight 0" in note for note in encoder.notes())
        np.testing.assert_array_equal(weighed.ids, whole.ids)
        assert reason(tokenizer, Pair("q", [answer("a", weight=0)], "b")) == (
            "the answer's last message has weight 0: it is not to be learned"
        )
        assert reason(tokenizer, Pair("q", [answer("a", weight=0.5), user("more"), answer("c")], "b")) == (
            "a message's weight is 0.5, and neither 0 nor 1"
        )

    @pytest.mark.parametrize("template", [tiny_model.CHATML, None])
    def test_a_turn_of_the_assistants_that_says_nothing_is_refused(self, load: Load, template: str | None) -> None:
        turns = [answer(" \n"), user("more"), answer("c")]
        assert reason(load(template), Pair("q", turns, "b")) == "an assistant turn that says nothing"
        assert (
            reason(load(template), Pair("q", [answer(END), *turns[1:]], "b")) == "an assistant turn that says nothing"
        )

    def test_what_cannot_be_told_apart_is_refused(self, load: Load) -> None:
        counts = AS_OBJECT.replace(
            "m.role + '\n'", "m.role + '\n' + (loop.length | string if m.role == 'assistant' else '')"
        )
        turns = [call(), {"role": "tool", "content": "sunny"}, call(name="time")]
        assert reason(load(counts), Pair("q", turns, "b")) == (
            "the chat template changes earlier turns of the answer, so the assistant's own tokens cannot be told apart"
        )
        self.check(load(counts), [answer("a b"), user("more"), answer("c")], [f"4a b{END}", f"c{END}"])

    def test_sides_on_which_the_assistant_says_the_same_are_refused(self, load: Load) -> None:
        sides = [[answer("a"), user(words), answer("c")] for words in ("more", "less")]
        assert reason(load(), Pair("q", *sides)) == "the assistant says the same on both sides"

    def test_a_cut_answer_counts_what_is_left(self, load: Load) -> None:
        tokenizer = load()
        pair = Pair("q", [answer("a"), user("more"), answer("c")], "b")
        whole = Encoder(tokenizer, 1000).encode(pair, 1).chosen
        cut = Encoder(tokenizer, len(whole) - 3).encode(pair, 1).chosen
        assert cut.ids.tolist() == whole.ids.tolist()[:-3]
        np.testing.assert_array_equal(cut.own, whole.own[:-3])

    def test_the_mask_is_part_of_the_value_and_not_of_the_key(self, load: Load) -> None:
        side = Encoder(load(), 1000).encode(Pair("q", [answer("a"), user("m"), answer("c")], "b"), 1).chosen
        whole = Completion(side.ids, side.start)
        assert whole != side
        assert hash(whole) == hash(side)
        assert whole.own.all()

    @settings_of_hypothesis(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(
        template=st.sampled_from([tiny_model.CHATML, INST, None]),
        words=st.lists(st.text("ab \n四é<>", min_size=1).filter(str.strip), min_size=3, max_size=7).filter(
            lambda them: len(them) % 2
        ),
    )
    def test_every_assistants_turn_counts_whole_and_nothing_else(
        self, load: Load, template: str | None, words: list[str]
    ) -> None:
        tokenizer = LOADED.setdefault(template, load(template) if template not in LOADED else None)
        turns = [answer(each) if index % 2 == 0 else user(each) for index, each in enumerate(words)]
        side = Encoder(tokenizer, 2000).encode(Pair("q", turns, "no such words"), 1).chosen
        own_words = words[::2]
        before = "" if template == tiny_model.CHATML else " "
        ends = [END] * len(own_words) if template is not None else [*[""] * (len(own_words) - 1), END]
        assert own(tokenizer, side) == [f"{before}{each}{end}" for each, end in zip(own_words, ends)]


class TestSharedTurns:
    """What both sides begin with was not preferred to anything: it is read, and counts on neither side."""

    SHARED = "1 pair whose sides begin with the same turns: they are read and not learned, as the sides differ only behind them"

    @pytest.mark.parametrize(("template", "lead"), [(tiny_model.CHATML, ""), (INST, " "), (None, " ")])
    def test_only_what_follows_them_counts(self, load: Load, template: str | None, lead: str) -> None:
        tokenizer = load(template)
        begun = [answer("a b"), user("more")]
        encoder = Encoder(tokenizer, 1000)
        example = encoder.encode(Pair("q", [*begun, answer("c")], [*begun, answer("d"), user("e"), answer("f")]), 1)
        assert own(tokenizer, example.chosen) == [f"{lead}c{END}"]
        ends = END if template is not None else ""
        assert own(tokenizer, example.rejected) == [f"{lead}d{ends}", f"{lead}f{END}"]
        assert self.SHARED in encoder.notes()
        assert not any("weight 0" in note for note in encoder.notes())

    def test_the_tokens_are_the_same_as_those_of_the_conversation(self, load: Load) -> None:
        begun = [answer("a b"), user("more")]
        sides = [[*begun, answer(text)] for text in ("c", "d")]
        example = Encoder(load(), 1000).encode(Pair("q", *sides), 1)
        whole = Encoder(load(), 1000).encode(Pair([user("q"), *begun], *([side[-1]] for side in sides)), 1)
        assert example.chosen.ids.tolist() == whole.chosen.ids.tolist()
        assert example.chosen.own.sum() == len(whole.chosen) - whole.chosen.start
        alone = Encoder(load(), 1000).completion("q", sides[0])
        assert (alone.ids.tolist(), alone.start) == (example.chosen.ids.tolist(), example.chosen.start)

    def test_sides_that_part_at_a_users_turn_share_the_answer_before_it(self, load: Load) -> None:
        tokenizer = load()
        sides = [[answer("a"), user(words), answer(text)] for words, text in (("more", "c"), ("less", "d"))]
        example = Encoder(tokenizer, 1000).encode(Pair("q", *sides), 1)
        assert [own(tokenizer, side) for side in (example.chosen, example.rejected)] == [[f"c{END}"], [f"d{END}"]]

    def test_a_side_that_the_other_one_begins_with_is_refused(self, load: Load) -> None:
        longer = [answer("a"), user("more"), answer("c")]
        assert reason(load(), Pair("q", longer, longer[:1])) == "one side is the start of the other"
        assert reason(load(), Pair("q", longer[:1], longer)) == "one side is the start of the other"

    def test_calls_with_ids_of_their_own_are_the_same_turns(self, load: Load) -> None:
        tokenizer = load(AS_OBJECT)
        sides = []
        for name, text in (("x1", "Sunny"), ("x2", "Rain")):
            called = call()
            called["tool_calls"][0]["id"] = name
            sides.append([called, {"role": "tool", "content": "sunny", "tool_call_id": name}, answer(text)])
        example = Encoder(tokenizer, 1000).encode(Pair("q", *sides), 1)
        assert [own(tokenizer, side) for side in (example.chosen, example.rejected)] == [
            [f"Sunny{END}"],
            [f"Rain{END}"],
        ]

    def test_another_call_is_no_shared_turn(self, load: Load) -> None:
        turns = [{"role": "tool", "content": "sunny"}, answer("Sunny")]
        example = Encoder(load(AS_OBJECT), 1000).encode(Pair("q", [call(), *turns], [call(name="time"), *turns]), 1)
        assert example.chosen.own_mask is not None
        assert len(own(load(AS_OBJECT), example.chosen)) == 2

    def test_sides_that_are_the_same_are_called_that(self, load: Load) -> None:
        turns = [answer("a"), user("more"), answer("c")]
        assert reason(load(), Pair("q", turns, turns)) == "identical sides"
