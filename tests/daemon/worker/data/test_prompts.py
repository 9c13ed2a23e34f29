"""What a job's texts are, through the tokenizer that a job has: EOS of the config, clocks, tools, turns, templated rows."""

from __future__ import annotations

import json
import os
import platform
import secrets
import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from types import ModuleType
from typing import Any

import mlx_lm
import numpy as np
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as settings_of_hypothesis
from hypothesis import strategies as st

from prefd.daemon.worker.data.prompts import Settings
from prefd.daemon.worker.data.tokens import Completion, Encoder
from prefd.daemon.worker.models import loading
from prefd.daemon.worker.models.source import ModelSource
from prefd.plugins.types import Pair, Text, UnusableRow
from support import tiny_model

START, END, EOS = "<|im_start|>", "<|im_end|>", "<|endoftext|>"
DATED = "{{ 'Today: ' + strftime_now('%d %b %Y %H:%M') + '\n' }}" + tiny_model.CHATML
LLAMA3 = (
    "{% if not date_string is defined %}{% set date_string = strftime_now('%d %b %Y') %}{% endif %}"
    "{{ 'Today: ' + date_string + '\n' }}" + tiny_model.CHATML
)
IGNORES_CLOCK = "{% set unused = strftime_now('%d') %}" + tiny_model.CHATML
# Between the two moments that are compared, no year begins in which it would write another word.
BRANCHES = "{{ 'before\n' if strftime_now('%Y') | int < 2050 else 'after\n' }}" + tiny_model.CHATML
DRAWS = (
    "{{ ['one', 'two', 'three', 'four', 'five', 'six', 'seven'] | random }}{{ lipsum(n=1, html=False) }}"
    + tiny_model.CHATML
)
PARTS_ONLY = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] }}{% for p in m['content'] %}{{ '|' + p['text'] }}{% endfor %}"
    "{{ '<|im_end|>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant|' }}{% endif %}"
)
CALLS = (
    "{% if tools %}{{ tools | tojson + '\n' }}{% endif %}{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content }}"
    "{% for c in m.tool_calls or [] %}{{ '<call>' + c.function.name + ARGUMENTS + '</call>' }}{% endfor %}{{ '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
AS_OBJECT = CALLS.replace("ARGUMENTS", "(c.function.arguments | tojson)")
AS_TEXT = CALLS.replace("ARGUMENTS", "c.function.arguments")
AS_PRINTED = CALLS.replace("ARGUMENTS", "(c.function.arguments | string)")
USERS_ONLY = (
    "{% for m in messages %}{% if m.role in ['user', 'assistant'] %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}"
    "{% endif %}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
NO_SYSTEM = (
    "{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    + tiny_model.CHATML
)
# A thinking block is dropped from every turn but the last, as Qwen3's template does.
FORGETS = (
    "{% for m in messages %}{% set c = m.content %}{% if m.role == 'assistant' and not loop.last %}"
    "{% set c = c.split('</think>')[-1] %}{% endif %}{{ '<|im_start|>' + m.role + '\n' + c + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
INST = (
    "{% for m in messages %}{% if m.role == 'user' %}{{ '[INST] ' + m.content + ' [/INST]' }}{% else %}"
    "{{ ' ' + m.content + eos_token }}{% endif %}{% endfor %}"
)
# The system's words stand in the last user turn, and where an answer follows none is the last: Mistral's of version 3.
SYSTEM_LAST = (
    "{% set ns = namespace(s='') %}{% for m in messages %}{% if m.role == 'system' %}{% set ns.s = m.content + '\n\n' %}"
    "{% elif m.role == 'user' %}{{ '[INST] ' + (ns.s if loop.last else '') + m.content + '[/INST]' }}{% else %}"
    "{{ ' ' + m.content + eos_token }}{% endif %}{% endfor %}"
)
THINKS = (
    "{% for m in messages %}{{ '<|im_start|>' + m.content.split('</think>')[-1] }}{% if m.role == 'assistant' %}{{ '<|im_end|>' }}"
    "{% endif %}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|><think>\n' }}{% endif %}"
)
# The last answer ends otherwise than earlier ones, as gpt-oss's, Phi-3's and Vicuna's do.
CHANNELS = (
    "{% for m in messages %}{% if m.role == 'assistant' %}{{ '<|im_start|>assistant<|channel|>final<|message|>' + m.content }}"
    "{{ '<|endoftext|>' if loop.last else '<|im_end|>' }}{% else %}{{ '<|im_start|>' + m.role + '<|message|>' + m.content }}"
    "{{ '<|im_end|>' }}{% endif %}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant' }}{% endif %}"
)
ENDS_ONCE = tiny_model.CHATML.replace("{% endif %}", "{% else %}{{ '<|endoftext|>' }}{% endif %}")
SPOKEN = (
    "{% for m in messages %}{{ ('USER: ' if m.role == 'user' else ' ASSISTANT: ') + m.content }}"
    "{% if m.role == 'assistant' %}{{ eos_token if loop.last else ' ' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %} ASSISTANT:{% endif %}"
)
OTHER_LAST = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content }}"
    "{{ '<|endoftext|>' if loop.last and m.role == 'assistant' else '<|im_end|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
TOOL = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}

Load = Callable[..., Any]
LOADED: dict[str | None, Any] = {}
"""Tokenizers by template, for a test of many examples."""


@pytest.fixture(scope="module")
def load(tmp_path_factory: pytest.TempPathFactory) -> Load:
    """The tokenizer of a tiny model with this template, as a job has it."""

    def load(
        template: str | None = tiny_model.CHATML, eos_token_id: Any = 2, generation: Any = None, **config: Any
    ) -> Any:
        folder = tiny_model.build_chat(tmp_path_factory.mktemp("model"), template, eos_token_id, **config)
        if generation is not None:
            (folder / "generation_config.json").write_text(json.dumps(generation))
        return loading.tokenizer(ModelSource(str(folder)))

    return load


def user(content: Any) -> dict[str, Any]:
    return {"role": "user", "content": content}


def answer(content: Any, **more: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": content, **more}


def call(arguments: Any = None, name: str = "weather") -> dict[str, Any]:
    function = {"name": name, "arguments": {"city": "Rome"} if arguments is None else arguments}
    return answer("", tool_calls=[{"type": "function", "function": function}])


def settings(date: str = "2024-07-26", **rest: Any) -> Settings:
    return Settings(datetime.fromisoformat(date), **rest)


def encoded(tokenizer: Any, pair: Pair, given: Settings | None = None) -> tuple[tuple[str, str], list[str]]:
    """Prompt and chosen answer as text, and the notes."""
    encoder = Encoder(tokenizer, 1000, given)
    return texts(tokenizer, encoder.encode(pair, 1).chosen), encoder.notes()


def texts(tokenizer: Any, side: Completion) -> tuple[str, str]:
    ids = side.ids.tolist()
    return tokenizer.decode(ids[: side.start]), tokenizer.decode(ids[side.start :])


def own(tokenizer: Any, side: Completion) -> list[str]:
    """The stretches of an answer that count, as text."""
    ids = side.ids[side.start :].tolist()
    stretches: list[list[int]] = []
    for at, token in enumerate(ids):
        if side.own[at]:
            if at == 0 or not side.own[at - 1]:
                stretches.append([])
            stretches[-1].append(token)
    return [tokenizer.decode(stretch) for stretch in stretches]


def reason(tokenizer: Any, pair: Pair, given: Settings | None = None) -> str:
    with pytest.raises(UnusableRow) as caught:
        Encoder(tokenizer, 1000, given).encode(pair, 1)
    return str(caught.value)


def in_python(monkeypatch: pytest.MonkeyPatch, imports: str, asks: str, top: str = "") -> None:
    """A template of mlx-lm's kind that is Python code and begins with what it `asks` for."""
    module = ModuleType("mlx_lm.chat_templates.prefd_test")
    source = f"""
{top}
def apply_chat_template(messages, add_generation_prompt=False, tools=None, enable_thinking=None):
{imports}
    text = {asks} + "".join("<|im_start|>" + m["content"] + "<|im_end|>" for m in messages)
    return text + ("<|im_start|>" if add_generation_prompt else "")
"""
    exec(source, vars(module))  # noqa: S102  # our own
    monkeypatch.setitem(sys.modules, module.__name__, module)


class TestEndOfTurn:
    @pytest.mark.parametrize("where", ["config", "generation"])
    @pytest.mark.parametrize("given", ["stone", f"stone{END}", f"stone{END}\n", f"stone{END}\n{EOS}"])
    def test_an_answer_ends_with_what_ends_a_turn_once(self, load: Load, where: str, given: str) -> None:
        ids = (
            {"eos_token_id": [0, 2]}
            if where == "config"
            else {"eos_token_id": 0, "generation": {"eos_token_id": [0, 2]}}
        )
        tokenizer = load(eos_token=EOS, **ids)
        side = Encoder(tokenizer, 100).encode(Pair("q", given, "b"), 1).chosen
        stone = tokenizer.encode("stone", add_special_tokens=False)
        assert side.ids[side.start :].tolist() == [*stone, 2]

    def test_the_eos_ids_are_those_of_mlx_lm(self, tmp_path: Path) -> None:
        folder = tiny_model.build_chat(tmp_path, tiny_model.CHATML, [0, 2], eos_token=EOS)
        assert (
            loading.tokenizer(ModelSource(str(folder))).eos_token_ids
            == mlx_lm.load(str(folder))[1].eos_token_ids
            == {0, 2}
        )

    def test_one_of_the_configs_inside_an_answer_is_refused(self, load: Load) -> None:
        tokenizer = load(eos_token_id=[0, 2], eos_token=EOS)
        assert reason(tokenizer, Pair("q", f"a{END}\nb", "c")) == "an EOS inside the answer"

    def test_an_end_that_no_config_knows_is_told_of(self, load: Load) -> None:
        (_, side), notes = encoded(load(eos_token_id=0, eos_token=EOS), Pair("q", "a", "b"))
        assert side == f"a{END}\n{EOS}"
        assert notes == [
            (
                f"the chat template ends an answer with '{END}', which is no EOS of the model's: answers end with another token "
                "behind it; add it to eos_token_id in the model's generation_config.json"
            )
        ]

    def test_a_config_alone_may_name_it(self, load: Load) -> None:
        assert encoded(load(eos_token_id=2, eos_token=None), Pair("q", "a", "b"))[0][1] == f"a{END}"


class TestHiddenInputs:
    def test_the_date_is_the_jobs_and_told_of(self, load: Load) -> None:
        (prompt, _), notes = encoded(load(DATED), Pair("q", "a", "b"))
        assert prompt.startswith("Today: 26 Jul 2024 00:00\n")
        assert notes == ["the chat template prints the date; prompts are rendered as of 2024-07-26 (data.date)"]
        (prompt, _), notes = encoded(load(DATED), Pair("q", "a", "b"), settings("2026-01-31T09:30"))
        assert prompt.startswith("Today: 31 Jan 2026 09:30\n")
        assert notes == [
            "the chat template prints the date; prompts are rendered as of 2026-01-31 09:30:00 (data.date)"
        ]

    def test_a_date_that_the_row_brings_is_the_rows(self, load: Load) -> None:
        pair = Pair("q", "a", "b", chat_template_kwargs={"date_string": "1 May 1999"})
        (prompt, _), notes = encoded(load(LLAMA3), pair)
        assert prompt.startswith("Today: 1 May 1999\n")
        assert notes == []

    def test_a_template_that_reads_no_clock_is_not_told_of(self, load: Load) -> None:
        assert encoded(load(), Pair("q", "a", "b"))[1] == []

    @pytest.mark.parametrize("template", [IGNORES_CLOCK, BRANCHES])
    def test_a_clock_that_is_read_and_not_printed_is_told_of(self, load: Load, template: str) -> None:
        (prompt, _), notes = encoded(load(template), Pair("q", "a", "b"))
        assert prompt == "before\n" * (template == BRANCHES) + f"{START}user\nq{END}\n{START}assistant\n"
        assert notes == ["the chat template reads the clock; prompts are rendered as of 2024-07-26 (data.date)"]

    def test_draws_are_the_same_for_every_prompt(self, load: Load) -> None:
        first, second = (encoded(load(DRAWS), Pair("q", side, "b")) for side in ("a", "c"))
        assert first[0][0] == second[0][0]
        assert first[1] == ["the chat template draws at random; every prompt is rendered with the same draw"]

    def test_an_address_of_pythons_is_refused(self, load: Load) -> None:
        expected = "the chat template prints an object of Python's, which is another in each process"
        assert reason(load("{{ raise_exception }}" + tiny_model.CHATML), Pair("q", "a", "b")) == expected

    def test_a_template_in_python_has_the_jobs_clock(self, load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
        in_python(monkeypatch, "    from datetime import datetime\n", 'datetime.now().strftime("%d %b %Y")')
        (prompt, side), notes = encoded(load(None, chat_template_type="prefd_test"), Pair("q", "a", "b"))
        assert (prompt, side) == (f"26 Jul 2024{START}q{END}{START}", f"a{END}")
        assert len(notes) == 1

    @pytest.mark.parametrize(
        "asks",
        ['os.environ.get("TONE", "-")', 'str(os.getenv("TONE"))', 'str(environ.get("TONE"))', 'getenv("TONE", "-")'],
    )
    @pytest.mark.parametrize("where", ["at the top", "as it runs"])
    def test_a_template_in_python_finds_an_empty_environment(
        self, load: Load, monkeypatch: pytest.MonkeyPatch, asks: str, where: str
    ) -> None:
        imports = "import os\nfrom os import environ, getenv\n"
        if where == "at the top":
            in_python(monkeypatch, "", asks, top=imports)
        else:
            in_python(monkeypatch, "    import os\n    from os import environ, getenv\n", asks)
        tokenizer, found = load(None, chat_template_type="prefd_test"), []
        for tone in ("kind", "stern", None):
            monkeypatch.setenv("TONE", tone) if tone else monkeypatch.delenv("TONE")
            found.append(encoded(tokenizer, Pair("q", "a", "b")))
        (prompt, _), notes = found[0]
        assert found == [found[0]] * 3
        assert prompt in (f"-{START}q{END}{START}", f"None{START}q{END}{START}")
        assert notes == ["the chat template reads the environment; prompts are rendered in an empty one"]

    @pytest.mark.parametrize(
        "asks",
        [
            "os.getpid()",
            "platform.node()",
            "platform.uname()",
            "os.getcwd()",
            "socket.gethostname()",
            "os.uname()",
            "getpass.getuser()",
        ],
    )
    def test_a_template_in_python_sees_neither_its_process_nor_the_machine(
        self, load: Load, monkeypatch: pytest.MonkeyPatch, asks: str
    ) -> None:
        in_python(monkeypatch, "    import os, platform, socket, getpass\n", f"str({asks})")
        (prompt, _), notes = encoded(load(None, chat_template_type="prefd_test"), Pair("q", "a", "b"))
        assert prompt.partition(START)[0] in (
            "1",
            "",
            "/",
            "localhost",
            "root",
            str(os.uname_result(("",) * 5)),
        )
        assert notes == ["the chat template reads the environment; prompts are rendered in an empty one"]
        assert platform.uname().node == os.uname().nodename != ""

    @pytest.mark.parametrize(
        "asks",
        [
            "uuid.uuid4()",
            "os.urandom(4)",
            "secrets.token_hex()",
            "secrets.randbelow(9**9)",
            "random.SystemRandom().random()",
        ],
    )
    def test_a_template_in_python_draws_the_same_also_from_the_systems_entropy(
        self, load: Load, monkeypatch: pytest.MonkeyPatch, asks: str
    ) -> None:
        in_python(monkeypatch, "", f"str({asks})", top="import os, random, secrets, uuid\n")
        first, second = (encoded(load(None, chat_template_type="prefd_test"), Pair("q", side, "b")) for side in "ac")
        assert first[0][0] == second[0][0]
        assert first[1] == ["the chat template draws at random; every prompt is rendered with the same draw"]
        assert secrets.token_hex() != secrets.token_hex()

    @pytest.mark.parametrize("asks", ["random.Random().random()", "next(count)", "uuid.uuid1()"])
    def test_a_template_in_python_that_writes_another_text_each_time_is_refused(
        self, load: Load, monkeypatch: pytest.MonkeyPatch, asks: str
    ) -> None:
        in_python(monkeypatch, "", f"str({asks})", top="import itertools, random, uuid\ncount = itertools.count()\n")
        expected = "the chat template writes another text each time it is rendered"
        assert reason(load(None, chat_template_type="prefd_test"), Pair("q", "a", "b")) == expected


class TestSettings:
    def test_a_rows_arguments_win_over_the_datasets(self, load: Load) -> None:
        tokenizer = load("{{ tone }}{{ size }}\n" + tiny_model.CHATML)
        given = settings(kwargs={"tone": "kind", "size": 1, "colour": "red"})
        (prompt, _), notes = encoded(tokenizer, Pair("q", "a", "b", chat_template_kwargs={"size": 2}), given)
        assert prompt.startswith("kind2\n")
        assert notes == ["chat_template_kwargs that the chat template does not read: colour"]

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

    def test_no_template_is_told_of_where_there_are_messages(self, load: Load) -> None:
        pair = Pair([user("q")], [answer("a")], [answer("b")])
        written = "messages are written as Human:/Assistant:"
        assert encoded(load(None), pair)[1] == [f"the tokenizer has no chat template: {written}"]
        found, notes = encoded(load(), pair, settings(template="none"))
        assert found == ("\n\nHuman: q\n\nAssistant:", f" a{END}")
        assert notes == [f"data.chat_template is none: {written}"]
        assert encoded(load(None), Pair("q", " a", " b"))[1] == []

    def test_a_template_where_no_tokenizer_looks_is_told_of(self, tmp_path: Path) -> None:
        folder = tiny_model.build_chat(tmp_path, None)
        (folder / "chat_template.json").write_text(json.dumps({"chat_template": tiny_model.CHATML}))
        tokenizer = loading.tokenizer(ModelSource(str(folder)))
        assert encoded(tokenizer, Pair([user("q")], [answer("a")], "b"))[1] == [
            (
                "the tokenizer has no chat template: messages are written as Human:/Assistant:; its folder has a "
                "chat_template.json, which is for processors: put the text in it into chat_template.jinja"
            )
        ]


class TestWhatTemplatesRead:
    PARTS = ({"type": "text", "text": "Greet "}, {"type": "text", "text": "me."})

    def test_parts_are_joined_for_a_template_of_strings(self, load: Load) -> None:
        pair = Pair([user(list(self.PARTS))], [answer([{"type": "text", "text": f"Hello{END}"}])], "Go")
        tokenizer = load()
        assert Encoder(tokenizer, 100).encode(pair, 1) == Encoder(tokenizer, 100).encode(
            Pair("Greet me.", "Hello", "Go"), 1
        )

    def test_parts_are_kept_for_a_template_of_parts_and_strings_become_some(self, load: Load) -> None:
        pair = Pair([user(list(self.PARTS)), answer("ok"), user("more")], "a", "b")
        expected = f"{START}user|Greet |me.{END}\n{START}assistant|ok{END}\n{START}user|more{END}\n{START}assistant|"
        assert encoded(load(PARTS_ONLY), pair)[0] == (expected, f"a{END}")

    @pytest.mark.parametrize(
        ("template", "written"),
        [(AS_OBJECT, '{"city": "Rome"}'), (AS_TEXT, '{"city": "Rome"}'), (AS_PRINTED, '{"city": "Rome"}')],
    )
    def test_arguments_are_written_as_json_whatever_the_template_takes(
        self, load: Load, template: str, written: str
    ) -> None:
        found, _ = encoded(load(template), Pair("q", [call()], "b"))
        assert found[1] == f"<call>weather{written}</call>{END}"

    def test_a_call_of_another_city_and_a_null_are_other_answers(self, load: Load) -> None:
        pair = Pair("q", [call({"city": "Rome", "unit": None})], [call()])
        example = Encoder(load(AS_OBJECT), 100).encode(pair, 1)
        assert texts(load(), example.chosen)[1] == f'<call>weather{{"city": "Rome", "unit": null}}</call>{END}'


class TestWhatTemplatesDrop:
    def test_tools_and_calls_that_are_not_shown(self, load: Load) -> None:
        tokenizer = load()
        assert reason(tokenizer, Pair("q", "a", "b", tools=[TOOL])) == "the chat template does not show tools"
        expected = "the chat template does not show tool calls"
        assert reason(tokenizer, Pair("q", [call()], "b", tools=[TOOL])) == expected
        assert reason(tokenizer, Pair([user("q"), call(), user("r")], "a", "b")) == expected
        assert encoded(load(AS_OBJECT), Pair("q", [call()], "b", tools=[TOOL]))[0][0].startswith('[{"type": "function"')

    @pytest.mark.parametrize("role", ["system", "developer", "tool"])
    @pytest.mark.parametrize("content", ["Be brief and kind.", "us"])  # the second stands in "user" as well
    def test_a_message_that_is_not_shown(self, load: Load, role: str, content: str) -> None:
        prompt = [{"role": role, "content": content}, user("q")]
        assert reason(load(USERS_ONLY), Pair(prompt, "a", "b")) == f"the chat template does not show the {role} message"
        assert encoded(load(), Pair(prompt, "a", "b"))[0][0].startswith(f"{START}{role}\n{content}{END}")

    @pytest.mark.parametrize("role", ["system", "developer", "tool", "environment"])
    def test_a_message_that_is_written_as_the_assistants(self, load: Load, role: str) -> None:
        other = {"role": role, "content": "Be brief and kind."}
        article = "an" if role == "environment" else "a"
        expected = f"the chat template writes {article} {role} message as an assistant's"
        assert reason(load(INST), Pair([other, user("q")], "a", "b")) == expected
        assert reason(load(INST), Pair("q", [answer("a"), other, answer("c")], "b")) == expected
        roleless = "{% for m in messages %}{{ m.content + '\n' }}{% endfor %}"
        assert encoded(load(roleless), Pair([other, user("q")], "a", "b"))[0][0] == "Be brief and kind.\nq\n"

    def test_reasoning_of_an_answer_that_is_not_shown(self, load: Load) -> None:
        side = [answer("a", reasoning_content="because")]
        assert reason(load(), Pair("q", side, "b")) == "the chat template does not show an answer's reasoning_content"

    def test_a_refused_system_turn_comes_with_a_remedy(self, load: Load) -> None:
        assert reason(load(NO_SYSTEM), Pair([{"role": "system", "content": "s"}, user("q")], "a", "b")) == (
            "the chat template refuses it: System role not supported; put the system turn's words into the first user turn"
        )


class TestRemarks:
    def test_sides_that_repeat_their_prompt(self, load: Load) -> None:
        notes = encoded(load(), Pair("Greet me.", "Greet me. Hello", [answer("Greet me.\nGo")]))[1]
        assert notes == [
            (
                "1 pair whose sides both begin with their prompt, which the model would learn to repeat: take it out of chosen "
                "and rejected"
            )
        ]
        assert encoded(load(), Pair("Greet me.", "Greet me. Hello", "Go"))[1] == []

    def test_what_a_template_puts_before_an_answer_is_there_whatever_else_it_changes(self, load: Load) -> None:
        tokenizer = load(SYSTEM_LAST)
        system = {"role": "system", "content": "Be kind."}
        for said in ("q", "Greet me, will you?"):
            pair = Pair([user(said)], [answer("yes")], [answer("no")])
            rewritten = Pair([system, user(said)], [answer("yes")], [answer("no")])
            assert encoded(tokenizer, pair)[0] == (f"[INST] {said}[/INST]", f" yes{END}")
            found, notes = encoded(tokenizer, rewritten)
            assert found == (f"[INST] Be kind.\n\n{said}[/INST]", f" yes{END}")
            assert notes[0].startswith("1 pair whose prompt the chat template writes otherwise")

    def test_an_answer_behind_an_answer(self, load: Load) -> None:
        (prompt, side), notes = encoded(load(), Pair([user("q"), answer("The")], [answer("a")], [answer("b")]))
        assert prompt == f"{START}user\nq{END}\n{START}assistant\nThe{END}\n{START}assistant\n"
        assert side == f"a{END}"
        assert notes == [
            "1 pair whose prompt ends with an assistant's turn: the answer is another turn behind it, and not its end"
        ]

    def test_a_thinking_block_that_stays_open(self, load: Load) -> None:
        encoder = Encoder(load(THINKS), 100)
        for row, sides in enumerate([("why</think>a", "<think>no</think>b"), ("a", "b"), ("why</think>a", "b")], 1):
            encoder.encode(Pair("q", *sides), row)
        notes = encoder.notes()
        assert [note for note in notes if "thinking" in note] == [
            (
                "2 pairs whose answer does not close the thinking block that the prompt opens: the model learns to answer inside "
                "it; close it in the data, or switch thinking off where the template can (data.chat_template_kwargs)"
            )
        ]
        assert encoder.merged == 0
        assert notes[0].startswith("3 pairs whose prompt the chat template writes otherwise")


class TestTurns:
    NOTE = "1 pair whose answer has several turns: only the assistant's own tokens count"

    def check(self, tokenizer: Any, side: Text, expected: list[str]) -> Completion:
        encoder = Encoder(tokenizer, 1000)
        made = encoder.encode(Pair("q", side, "b"), 1)
        assert own(tokenizer, made.chosen) == expected
        assert self.NOTE in encoder.notes()
        assert made.rejected.own_mask is None
        return made.chosen

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
        sides = [[answer("a"), user(said), answer("c")] for said in ("more", "less")]
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
        turns = [answer(each) if at % 2 == 0 else user(each) for at, each in enumerate(words)]
        side = Encoder(tokenizer, 2000).encode(Pair("q", turns, "no such words"), 1).chosen
        said = words[::2]
        before = "" if template == tiny_model.CHATML else " "
        ends = [END] * len(said) if template is not None else [*[""] * (len(said) - 1), END]
        assert own(tokenizer, side) == [f"{before}{each}{end}" for each, end in zip(said, ends)]
