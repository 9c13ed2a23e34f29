"""Tokenization: the rules of prompts.py and tokens.py, on real tokenizers of every awkward kind."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mlx_lm.utils import load_tokenizer
from tokenizers import Tokenizer
from tokenizers.processors import TemplateProcessing

from prefd.daemon.worker.data.tokens import Completion, Encoder, Example
from prefd.plugins.types import Pair, Text, UnusableRow
from support import tiny_model

EOS = "<|im_end|>"
BOS = "<|endoftext|>"

# The prompt opens a thinking block, and the template drops it from the answer (as DeepSeek-R1's does).
THINKS_IN_PROMPT = (
    "{% for m in messages %}{% if m['role'] == 'user' %}{{ '<|im_start|>' + m['content'] }}"
    "{% else %}{{ '<|im_start|>' + m['content'].split('</think>')[-1] + '<|im_end|>\n' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|><think>\n' }}{% endif %}"
)
# The template puts an empty thinking block before an answer without one (as Qwen3's does).
ADDS_EMPTY_THINKING = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' }}"
    "{% if m['role'] == 'assistant' and not '<think>' in m['content'] %}{{ '<think>\n\n</think>\n\n' }}{% endif %}"
    "{{ m['content'] + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}"
    "{% if enable_thinking is defined and not enable_thinking %}{{ '<think>\n\n</think>\n\n' }}{% endif %}{% endif %}"
)
EMITS_BOS = "{{ '<|endoftext|>' }}" + tiny_model.CHATML
NO_EOS = "{% for m in messages %}{{ m['role'] + ': ' + m['content'] + '\n' }}{% endfor %}{% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}"
STRICT = (
    "{% if messages[0]['role'] != 'user' %}{{ raise_exception('Start with a user message!') }}{% endif %}"
    + tiny_model.CHATML
)
TOOLS = "{% if tools %}{{ tools | length }} tools: {{ tools[0]['function']['name'] }}\n{% endif %}" + tiny_model.CHATML

Build = Callable[..., Any]


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Build:
    """Loads a tiny tokenizer with this template and config, and with these tokens around a plain text."""

    def build(
        template: str | None = tiny_model.CHATML, around: str | None = None, eos_ids: Any = None, **config: Any
    ) -> Any:
        folder = tmp_path_factory.mktemp("tokenizer")
        tiny_model.build_tokenizer(folder, template, **config)
        if around is not None:
            surround(folder, around)
        return load_tokenizer(folder, eos_token_ids=eos_ids)

    return build


def surround(folder: Path, around: str) -> None:
    """Make the tokenizer put special tokens around every text."""
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    special = [(token, tokenizer.token_to_id(token)) for token in tiny_model.SPECIAL]
    tokenizer.post_processor = TemplateProcessing(single=around, special_tokens=special)
    tokenizer.save(str(folder / "tokenizer.json"))


@pytest.fixture(scope="module")
def chat(build: Build) -> Any:
    return build()


@pytest.fixture(scope="module")
def plain(build: Build) -> Any:
    return build(None, f"{BOS} $A", bos_token=BOS)


def encode(
    tokenizer: Any, prompt: Text, chosen: Text, rejected: Text = "no", max_length: int = 1000, **rest: Any
) -> Example:
    return Encoder(tokenizer, max_length).encode(Pair(prompt, chosen, rejected, **rest), 1)


def texts(tokenizer: Any, side: Completion) -> tuple[str, str]:
    ids = side.ids.tolist()
    return tokenizer.decode(ids[: side.start]), tokenizer.decode(ids[side.start :])


def reason(tokenizer: Any, pair: Pair, max_length: int = 1000) -> str:
    encoder = Encoder(tokenizer, max_length)
    with pytest.raises(UnusableRow) as caught:
        encoder.encode(pair, 1)
    assert encoder.truncated == encoder.boundary == 0
    return str(caught.value)


def user(content: str) -> dict[str, str]:
    return {"role": "user", "content": content}


def answer(content: str) -> dict[str, str]:
    return {"role": "assistant", "content": content}


class TestChat:
    def test_strings_are_one_message_each(self, chat: Any) -> None:
        example = encode(chat, " What?\n", " Four. ", "Five.")
        prompt = "<|im_start|>user\nWhat?<|im_end|>\n<|im_start|>assistant\n"
        assert texts(chat, example.chosen) == (prompt, "Four.<|im_end|>")
        assert texts(chat, example.rejected) == (prompt, "Five.<|im_end|>")
        assert example == encode(chat, [user("What?")], [answer("Four.")], [answer("Five.")])
        assert example == encode(chat, [user("What?")], "Four.", [answer("Five.")])

    def test_the_prompt_is_what_generation_sees(self, chat: Any) -> None:
        example = encode(chat, [user("What?")], "Four.")
        assert example.chosen.prompt.tolist() == chat.apply_chat_template([user("What?")], add_generation_prompt=True)

    def test_messages_keep_their_whitespace(self, chat: Any) -> None:
        assert (
            texts(chat, encode(chat, [user("q ")], [answer("    return x\n")]).chosen)[1] == "    return x\n<|im_end|>"
        )

    def test_many_turns_in_an_answer(self, chat: Any) -> None:
        example = encode(chat, "q", [answer("a"), user("more"), answer("b")])
        ending = "a<|im_end|>\n<|im_start|>user\nmore<|im_end|>\n<|im_start|>assistant\nb<|im_end|>"
        assert texts(chat, example.chosen)[1] == ending

    def test_tools_and_arguments_reach_the_template(self, build: Build) -> None:
        tokenizer = build(TOOLS)
        example = encode(tokenizer, "q", "a", tools=[{"type": "function", "function": {"name": "now"}}])
        assert texts(tokenizer, example.chosen)[0].startswith("1 tools: now\n")
        thinking = build(ADDS_EMPTY_THINKING)
        example = encode(thinking, "q", "a", chat_template_kwargs={"enable_thinking": False})
        assert texts(thinking, example.chosen)[0].endswith("assistant\n<think>\n\n</think>\n\n")
        assert texts(thinking, example.chosen)[1] == "a<|im_end|>"

    def test_a_template_that_adds_a_thinking_block_puts_it_in_the_answer(self, build: Build) -> None:
        tokenizer = build(ADDS_EMPTY_THINKING)
        example = encode(tokenizer, "q", "a")
        assert texts(tokenizer, example.chosen)[0].endswith("assistant\n")
        assert texts(tokenizer, example.chosen)[1] == "<think>\n\n</think>\n\na<|im_end|>"

    @pytest.mark.parametrize("answer_text", ["why</think>a", "<think>\nwhy</think>a", "<think>why</think>a"])
    def test_a_thinking_block_is_opened_once(self, build: Build, answer_text: str) -> None:
        tokenizer = build(THINKS_IN_PROMPT)
        example = encode(tokenizer, "q", answer_text)
        assert texts(tokenizer, example.chosen) == ("<|im_start|>q<|im_start|><think>\n", f"why</think>a{EOS}")
        assert example.rejected.prompt.tolist() == example.chosen.prompt.tolist()
        encoder = Encoder(tokenizer, 100)
        encoder.encode(Pair("q", answer_text, "b"), 1)
        assert encoder.boundary == 1

    def test_several_turns_after_a_prompt_that_the_template_changes_are_refused(self, build: Build) -> None:
        pair = Pair("q", [answer("a"), user("m"), answer("b")], "c")
        assert reason(build(THINKS_IN_PROMPT), pair) == "the chat template changes the prompt when an answer follows"

    def test_a_refusal_of_the_template_is_the_reason(self, build: Build) -> None:
        pair = Pair([{"role": "system", "content": "s"}, user("q")], "a", "b")
        assert reason(build(STRICT), pair) == "the chat template refuses it: Start with a user message!"

    def test_a_dataset_cannot_bring_its_own_template(self, chat: Any) -> None:
        pair = Pair("q", "a", "b", chat_template_kwargs={"chat_template": "x", "tokenize": True})
        assert reason(chat, pair) == "chat_template_kwargs may not set chat_template, tokenize"

    def test_an_empty_prompt_still_has_the_templates_tokens(self, chat: Any) -> None:
        assert encode(chat, "", "a").chosen.start > 1
        assert reason(chat, Pair([], "a", "b")) == "empty prompt"


class TestEndOfText:
    @pytest.mark.parametrize("chosen", ["a", f"a{EOS}", f"a{EOS}{EOS}", f"a{EOS}\n"])
    def test_it_is_there_once_whatever_the_data_brings(self, chat: Any, plain: Any, chosen: str) -> None:
        for tokenizer in (chat, plain):
            assert encode(tokenizer, "q", chosen) == encode(tokenizer, "q", "a")
            assert encode(tokenizer, "q", chosen).chosen.ids.tolist()[-2:] != [tokenizer.eos_token_id] * 2
            assert encode(tokenizer, "q", chosen).chosen.ids[-1] == tokenizer.eos_token_id
        assert encode(chat, "q", [answer(chosen.strip())]) == encode(chat, "q", "a")

    def test_it_is_added_where_the_template_has_none(self, build: Build) -> None:
        tokenizer = build(NO_EOS)
        assert texts(tokenizer, encode(tokenizer, "q", "a").chosen) == ("user: q\nassistant: ", f"a\n{EOS}")

    def test_the_templates_own_is_kept_where_the_model_has_several(self, build: Build) -> None:
        tokenizer = build(eos_token=BOS, eos_ids=[0, 2])
        assert texts(tokenizer, encode(tokenizer, "q", "a").chosen)[1] == f"a{EOS}"

    def test_the_first_of_two_is_kept(self, build: Build) -> None:
        tokenizer = build(
            tiny_model.CHATML + "{{ '<|endoftext|>' if not add_generation_prompt }}", eos_token=BOS, eos_ids=[2]
        )
        assert texts(tokenizer, encode(tokenizer, "q", "a").chosen)[1] == f"a{EOS}"

    def test_one_inside_an_answer_is_refused(self, chat: Any) -> None:
        assert reason(chat, Pair("q", f"a{EOS}\nb", "c")) == "an EOS inside the answer"

    def test_a_tokenizer_without_one_is_refused(self, build: Build) -> None:
        with pytest.raises(ValueError, match=r"no EOS token; name one as eos_token in its tokenizer_config\.json"):
            Encoder(build(eos_token=None), 10)


class TestBeginning:
    def test_a_template_adds_its_own_special_tokens_only(self, build: Build) -> None:
        for tokenizer in (build(around=f"{BOS} $A", bos_token=BOS), build(around=f"{BOS} $A {EOS}", bos_token=BOS)):
            assert BOS not in texts(tokenizer, encode(tokenizer, "q", "a").chosen)[0]

    def test_a_template_that_emits_bos_gives_one(self, build: Build) -> None:
        tokenizer = build(EMITS_BOS, f"{BOS} $A", bos_token=BOS)
        assert encode(tokenizer, "q", "a").chosen.ids[:2].tolist() == [0, 1]

    @pytest.mark.parametrize("prompt", ["q", f"{BOS}q", f"{BOS}{BOS}q"])
    def test_plain_text_has_one(self, plain: Any, prompt: str) -> None:
        assert texts(plain, encode(plain, prompt, " a").chosen) == (f"{BOS}q", f" a{EOS}")

    def test_an_eos_after_the_prompt_is_left_off(self, build: Build) -> None:
        tokenizer = build(None, f"{BOS} $A {EOS}", bos_token=BOS)
        assert texts(tokenizer, encode(tokenizer, "q", " a").chosen) == (f"{BOS}q", f" a{EOS}")

    def test_one_token_that_begins_and_ends(self, build: Build) -> None:
        tokenizer = build(None, f"{BOS} $A", bos_token=BOS, eos_token=BOS)
        assert texts(tokenizer, encode(tokenizer, "", "a").chosen) == (BOS, f"a{BOS}")

    def test_an_empty_prompt_needs_a_token_before_the_answer(self, build: Build, plain: Any) -> None:
        assert encode(plain, "", "a").chosen.start == 1
        assert reason(build(None), Pair("", "a", "b")) == "empty prompt"


class TestPlain:
    def test_strings_are_joined_as_they_are(self, plain: Any) -> None:
        assert texts(plain, encode(plain, "Q: x\nA:", " Four ").chosen) == (f"{BOS}Q: x\nA:", f" Four {EOS}")

    def test_messages_are_a_transcript(self, plain: Any) -> None:
        prompt = [{"role": "system", "content": "s"}, user("q"), answer("x"), user("r")]
        text = f"{BOS}\n\nSystem: s\n\nHuman: q\n\nAssistant: x\n\nHuman: r\n\nAssistant:"
        assert texts(plain, encode(plain, prompt, [answer("a")]).chosen) == (text, f" a{EOS}")
        assert encode(plain, prompt, [answer("a")]) == encode(plain, prompt, "a")
        longer = encode(plain, prompt, [answer("a"), user("m"), answer("b")])
        assert texts(plain, longer.chosen)[1] == f" a\n\nHuman: m\n\nAssistant: b{EOS}"
        assert texts(plain, encode(plain, "q ", [answer("a")]).chosen) == (f"{BOS}q ", f"a{EOS}")

    def test_tools_need_a_template(self, plain: Any) -> None:
        pair = Pair("q", "a", "b", tools=[{"type": "function"}])
        assert reason(plain, pair) == "tools, but the tokenizer has no chat template"
        call = {"role": "assistant", "content": "", "tool_calls": [{"type": "function"}]}
        assert reason(plain, Pair("q", [call], "b")) == "tool calls, but the tokenizer has no chat template"


class TestBoundary:
    def test_an_answer_that_merges_with_the_prompt_is_tokenized_apart_and_counted(self, plain: Any) -> None:
        together = plain.encode("other", add_special_tokens=False)
        assert together[: len(plain.encode("oth", add_special_tokens=False))] != plain.encode(
            "oth", add_special_tokens=False
        )
        encoder = Encoder(plain, 100)
        example = encoder.encode(Pair("oth", "er", "x"), 1)
        assert encoder.boundary == 1
        assert example.chosen.prompt.tolist() == [0, *plain.encode("oth", add_special_tokens=False)]
        assert texts(plain, example.chosen) == (f"{BOS}oth", f"er{EOS}")
        assert example.rejected.prompt.tolist() == example.chosen.prompt.tolist()
        encoder.encode(Pair("oth", " x", " y"), 2)
        assert encoder.boundary == 1


class TestLength:
    def test_what_fits_exactly_is_not_cut(self, chat: Any) -> None:
        whole = encode(chat, "q", "abc", "d")
        encoder = Encoder(chat, len(whole.chosen))
        assert encoder.encode(Pair("q", "abc", "d"), 1) == whole
        assert encoder.truncated == 0

    def test_the_end_is_cut_without_an_eos(self, chat: Any) -> None:
        whole = encode(chat, "q", "abc", "d")
        for missing in (1, 2, 3):
            encoder = Encoder(chat, len(whole.chosen) - missing)
            cut = encoder.encode(Pair("q", "abc", "d"), 1)
            assert encoder.truncated == 1
            assert cut.chosen.ids.tolist() == whole.chosen.ids.tolist()[:-missing]
            assert (cut.chosen.cut, whole.chosen.cut) == (missing, 0)
            assert chat.eos_token_id not in cut.chosen.ids[cut.chosen.start :]

    def test_no_room_for_an_answer(self, chat: Any) -> None:
        prompt = encode(chat, "q", "abc").chosen.start
        assert reason(chat, Pair("q", "abc", "d"), prompt) == "nothing left after truncation"
        assert reason(chat, Pair("q", "abc", "d"), 2) == "nothing left after truncation"
        assert len(encode(chat, "q", "abc", "d", prompt + 1).chosen) == prompt + 1

    def test_sides_that_differ_only_in_what_is_cut(self, chat: Any) -> None:
        prompt = encode(chat, "q", "abc").chosen.start
        assert reason(chat, Pair("q", "abc", "abd"), prompt + 2) == "identical after truncation"


class TestUnusable:
    @pytest.mark.parametrize("blank", ["", " \n", EOS, [answer("  ")], [answer(EOS)], []])
    def test_an_empty_answer(self, chat: Any, plain: Any, blank: Text) -> None:
        for tokenizer in (chat, plain):
            assert reason(tokenizer, Pair("q", blank, "b")) == "empty completion"
            assert reason(tokenizer, Pair("q", "b", blank)) == "empty completion"

    def test_sides_that_read_the_same(self, chat: Any) -> None:
        assert reason(chat, Pair("q", "a", [answer("a")])) == "identical sides"
        assert reason(chat, Pair("q", "a", " a ")) == "identical sides"

    def test_a_side_that_ends_with_the_user(self, chat: Any) -> None:
        assert reason(chat, Pair("q", [answer("a"), user("b")], "c")) == "a side does not end with an answer"

    def test_half_a_surrogate_pair(self, chat: Any, plain: Any) -> None:
        for tokenizer in (chat, plain):
            assert reason(tokenizer, Pair("q", "a\ud800", "c")) == "not valid Unicode"


# Any text but the special tokens; those have their own tests.
TEXT = st.text(max_size=30).filter(lambda text: "<|" not in text)


@settings(deadline=None, max_examples=60)
@given(prompt=TEXT, chosen=TEXT, rejected=TEXT, is_chat=st.booleans(), max_length=st.integers(2, 80))
def test_every_example_keeps_the_rules(
    chat: Any, plain: Any, prompt: str, chosen: str, rejected: str, is_chat: bool, max_length: int
) -> None:
    tokenizer = chat if is_chat else plain
    encoder = Encoder(tokenizer, max_length)
    try:
        example = encoder.encode(Pair(prompt, chosen, rejected), 7)
    except UnusableRow:
        assert encoder.truncated == encoder.boundary == 0
        return
    assert example.row == 7
    assert example.chosen != example.rejected
    assert np.array_equal(example.chosen.prompt, example.rejected.prompt)
    cut = 0
    for side, given_text in ((example.chosen, chosen), (example.rejected, rejected)):
        ids, start = side.ids.tolist(), side.start
        assert side.ids.dtype == np.uint32
        assert 1 <= start < len(ids) <= max_length
        body = ids[start:]
        if body[-1] == tokenizer.eos_token_id:
            body.pop()
            expected = given_text.strip() if is_chat else given_text
            assert tokenizer.decode(body) == expected
        else:
            assert len(ids) == max_length
            cut = 1
        assert tokenizer.eos_token_id not in body
        assert ids[:2] != [tokenizer.bos_token_id] * 2
    assert encoder.truncated == cut


def test_completions_are_read_only_values(chat: Any) -> None:
    one, two = encode(chat, "q", "a"), encode(chat, "q", "a")
    assert one.chosen == two.chosen
    assert len({one.chosen, two.chosen, one.rejected}) == 2
    with pytest.raises(ValueError, match="read-only"):
        one.chosen.ids[0] = 1


def test_real_model(smol_model: Path, shared_pairs: Path) -> None:
    tokenizer = load_tokenizer(smol_model)
    encoder = Encoder(tokenizer, 512)
    rows = [json.loads(line) for line in shared_pairs.read_text(encoding="utf-8").splitlines()[:30]]
    for number, row in enumerate(rows, 1):
        example = encoder.encode(Pair(row["prompt"], row["chosen"], row["rejected"]), number)
        prompt = tokenizer.apply_chat_template([user(row["prompt"].strip())], add_generation_prompt=True)
        assert example.chosen.prompt.tolist() == prompt
        if len(example.rejected) < 512:
            assert texts(tokenizer, example.rejected)[1] == row["rejected"].strip() + tokenizer.eos_token
    assert encoder.boundary == 0
