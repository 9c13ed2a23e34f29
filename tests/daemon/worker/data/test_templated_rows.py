"""Rows that have been through a chat template already are taken as they are, refused or told of."""

from __future__ import annotations

import pytest

from prefd.daemon.worker.data.tokens import Encoder
from prefd.plugins.types import Pair
from support import tiny_model
from support.chat_templates import END, EOS, INST, SPOKEN, START, THINKS, answer, user
from support.encoded_pairs import Load, encoded, reason, settings


class TestTemplatedRows:
    def test_templated_rows_are_taken_as_they_are_or_refused(self, load: Load) -> None:
        tokenizer = load()
        prompt = f"{START}user\nGreet me.{END}\n{START}assistant\n"
        pair = Pair(prompt, f"Hello{END}\n", f"Go{END}\n")
        assert reason(tokenizer, pair) == (
            "templated already: it holds '<|im_start|>', which the chat template writes itself; for rows that have been "
            "through a template, set data.chat_template: none"
        )
        found = Encoder(tokenizer, 1000, settings(template="none")).encode(pair, 1)
        assert found == Encoder(tokenizer, 1000).encode(Pair("Greet me.", "Hello", "Go"), 1)

    @pytest.mark.parametrize(
        "pair",
        [
            Pair("[INST] Hi [/INST]", "a", "b"),
            Pair("Hi", "[INST] a", "b"),
            Pair([user("Hi [/INST]")], "a", "b"),
            Pair(f"Hi{END}", "a", "b"),
        ],
    )
    def test_markup_that_is_no_token_is_seen_too(self, load: Load, pair: Pair) -> None:
        assert reason(load(INST), pair).startswith("templated already: it holds '")
        assert Encoder(load(), 100).encode(Pair("[INST] Hi [/INST]", "a", "b"), 1)  # not this template's

    def test_the_words_a_template_puts_around_a_turn_are_seen_too(self, load: Load) -> None:
        spoken = load("{{ bos_token }}" + SPOKEN, bos_token=EOS)
        begins, ends = ("templated already: it " + how for how in ("begins with 'USER:'", "ends with 'ASSISTANT:'"))
        for prompt in ("USER: Hi ASSISTANT:", f"{EOS}USER: Hi ASSISTANT: ", [user("USER: Hi ASSISTANT:")]):
            assert reason(spoken, Pair(prompt, "a", "b")).startswith(begins)
        assert reason(spoken, Pair("Be kind. USER: Hi ASSISTANT:", "a", "b")).startswith(ends)
        system = load("{{ 'Be very kind. ' }}" + SPOKEN)
        assert "it begins with 'Be very kind. USER:'" in reason(system, Pair("Be very kind. USER: Hi", "a", "b"))
        for prose in ("USER: what is that?", "Be very kind.", "Who is the ASSISTANT: it?"):
            assert encoded(spoken, Pair(prose, "a", "b"))[0][0] == f"{EOS}USER: {prose} ASSISTANT:"

    @pytest.mark.parametrize("template", [tiny_model.CHATML, "{{ bos_token }}" + tiny_model.CHATML])
    def test_a_bos_that_the_data_brings_is_the_templates_own(self, load: Load, template: str) -> None:
        tokenizer = load(template, bos_token=EOS)
        opened = EOS * (template != tiny_model.CHATML)
        for prompt in (
            f"{EOS}Say",
            f" {EOS} Say",
            [user(f"{EOS}Say")],
            [user([{"type": "text", "text": f"{EOS}Say"}])],
        ):
            found, notes = encoded(tokenizer, Pair(prompt, "a", "b"))
            assert found == (f"{opened}{START}user\nSay{END}\n{START}assistant\n", f"a{END}")
            assert notes == []

    def test_a_bos_elsewhere_is_refused(self, load: Load) -> None:
        tokenizer = load("{{ bos_token }}" + tiny_model.CHATML, bos_token=EOS)
        for pair in (
            Pair(f"Say {EOS}it", "a", "b"),
            Pair("Say", f"{EOS}a", "b"),
            Pair([user("q"), answer("a"), user(f"{EOS}r")], "a", "b"),
            Pair(f"{EOS}{EOS}Say", "a", "b"),
        ):
            assert reason(tokenizer, pair) == f"it holds '{EOS}', the token that only begins a text: take it out"
        refused = reason(load(bos_token=START), Pair(f"{START}user\nSay", "a", "b"))
        assert refused.startswith("templated already: it holds '<|im_start|>'")

    def test_another_models_markup_is_told_of(self, load: Load) -> None:
        notes = encoded(load(), Pair("<|start_header_id|>user<|end_header_id|>Hi", "a", "b"))[1]
        assert notes == [
            (
                "1 pair whose prompt holds the markup of another model's chat template, which is plain text to this one: give "
                "the rows without it"
            )
        ]

    @pytest.mark.parametrize(
        "prompt",
        [
            "<<SYS>>\nBe kind.\n<</SYS>>\n\nHi",
            "\n\nHuman: Hi\n\nAssistant:",
            "Human: Hi\n\nAssistant: ",
            "USER: Hi ASSISTANT:",
            "A chat between two people. USER: Hi ASSISTANT:",
            "### Human: Hi### Assistant:",
            "GPT4 Correct User: Hi<|end_of_turn|>GPT4 Correct Assistant:",
            "<|prompter|>Hi<|endoftext|><|assistant|>",
            "### Instruction:\nHi\n\n### Response:\n",
            "<|START_OF_TURN_TOKEN|><|USER_TOKEN|>Hi",
            "[SYSTEM_PROMPT]Be kind.[/SYSTEM_PROMPT]Hi",
        ],
    )
    def test_the_plain_markup_of_other_models_is_told_of(self, load: Load, prompt: str) -> None:
        (shown, _), notes = encoded(load(), Pair(prompt, "a", "b"))
        assert shown == f"{START}user\n{prompt.strip()}{END}\n{START}assistant\n"
        assert [note[:34] for note in notes] == ["1 pair whose prompt holds the mark"]
        for prose in ("Who is a USER: or ASSISTANT: here?", "Human: yes", "What is ### Response: for?"):
            assert encoded(load(), Pair(prose, "a", "b"))[1] == []

    @pytest.mark.parametrize(
        "side",
        ["<|start_header_id|>a", "[INST] a", "a</s>", "a<|eot_id|>\n", "a<end_of_turn>", "a<|endoftext|>", "a<|end|>"],
    )
    def test_another_models_markup_in_a_side_is_told_of(self, load: Load, side: str) -> None:
        for pair in (Pair("q", side, "b"), Pair("q", "b", [answer(side)])):
            assert encoded(load(), pair)[1] == [
                (
                    "1 pair with a side that holds the markup of another model's chat template or ends with a token that ends "
                    "no answer of this model's, and the model would learn to write it: give the rows without it"
                )
            ]
        assert encoded(load(), Pair("q", "a </s> b", "b"))[1] == []

    def test_thinking_is_not_taken_for_a_templates_own(self, load: Load) -> None:
        assert (
            encoded(load(THINKS), Pair("what is <think>?", "<think>why</think>a", "b</think>c"))[0][1]
            == f"why</think>a{END}"
        )
