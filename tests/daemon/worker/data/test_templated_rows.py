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
        example = Encoder(tokenizer, 1000, settings(template="none")).encode(pair, 1)
        assert example == Encoder(tokenizer, 1000).encode(Pair("Greet me.", "Hello", "Go"), 1)

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
            texts, notes = encoded(tokenizer, Pair(prompt, "a", "b"))
            assert texts == (f"{opened}{START}user\nSay{END}\n{START}assistant\n", f"a{END}")
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


GEMMA = (
    "{{ bos_token }}{% for m in messages %}{{ '<start_of_turn>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
)


class TestEndsOfTemplatedRows:
    """A model whose turns end with another token than its tokenizer's EOS: `<|im_end|>` and `<|endoftext|>`."""

    PROMPT = f"{EOS}<start_of_turn>user\nHi{END}\n<start_of_turn>model\n"

    @pytest.mark.parametrize("ending", [END, f"{END}\n", f"{END}\n{EOS}", ""])
    def test_an_answer_ends_as_the_template_ends_it(self, load: Load, ending: str) -> None:
        tokenizer = load(GEMMA, eos_token_id=[1, 2], bos_token=EOS, eos_token=EOS)
        example, _ = encoded(tokenizer, Pair(self.PROMPT, f"Hello{ending}", f"Go{ending}"), settings(template="none"))
        assert example == (self.PROMPT, f"Hello{END}")
        example, _ = encoded(tokenizer, Pair("Hi", f"Hello{ending}", f"Go{ending}"))
        assert example == (self.PROMPT, f"Hello{END}")

    def test_text_that_is_not_templated_ends_as_the_tokenizer_has_it(self, load: Load) -> None:
        tokenizer = load(GEMMA, eos_token_id=[1, 2], bos_token=EOS, eos_token=EOS)
        assert encoded(tokenizer, Pair("Once", " upon", " at"), settings(template="none"))[0][1] == f" upon{EOS}"
        assert encoded(tokenizer, Pair("Once", f" upon{END}", " at"), settings(template="none"))[0][1] == f" upon{END}"

    def test_an_eos_in_the_prompt_that_is_not_the_templates_is_refused(self, load: Load) -> None:
        tokenizer = load(GEMMA, eos_token_id=[1, 2], bos_token="<|im_start|>", eos_token=EOS)
        assert reason(tokenizer, Pair(f"Hi{EOS}", "a", "b")) == (
            f"the prompt holds '{EOS}', the token that ends an answer: take it out"
        )


def test_turns_beside_a_templated_prompt_are_refused(load: Load) -> None:
    prompt = [{"role": "system", "content": "Be brief."}, user(f"{START}user\nHi{END}\n{START}assistant\n")]
    assert reason(load(), Pair(prompt, "a", "b"), settings(template="none")).startswith(
        "templated already, and messages, as a system column or a history makes of a prompt"
    )


def test_a_whole_chat_in_a_side_is_told_of_as_templated(load: Load) -> None:
    chat = f"{START}user\nHi{END}\n{START}assistant\n"
    assert reason(load(), Pair("Hi", f"{chat}a{END}", f"{chat}b{END}")).startswith(
        "templated already: it holds '<|im_start|>'"
    )


@pytest.mark.parametrize("label", ["Assistant: ", "### Response:\n", "ASSISTANT: "])
def test_a_speakers_name_before_an_answer_is_told_of(load: Load, label: str) -> None:
    _, notes = encoded(load(), Pair("Hi", f"{label}a", f"{label}b"))
    assert any("with a side that holds the markup of another model's chat template" in note for note in notes)
    assert encoded(load(), Pair("Hi", "Assistant professors: many", "b"))[1] == []


def test_arguments_of_a_template_that_is_not_used_are_told_of(load: Load) -> None:
    pair = Pair("Hi", "a", "b", chat_template_kwargs={"enable_thinking": False})
    _, notes = encoded(load(), pair, settings(template="none", kwargs={"date": "x"}))
    assert notes == ["chat_template_kwargs that the chat template does not read: date, enable_thinking"]


def test_the_place_of_an_image_is_told_of(load: Load) -> None:
    _, notes = encoded(load(), Pair("<image>\nWhat is it?", "a", "b"))
    assert notes[0].startswith("1 pair whose prompt holds the place of an image, a sound or a film")
    assert encoded(load(), Pair("<imagine> that", "a", "b"))[1] == []
