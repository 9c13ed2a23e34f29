"""What decides a prompt's text beside the row: the clock, draws and the environment are the job's, or the row is refused."""

from __future__ import annotations

import json
import os
import platform
import secrets
import sys
from pathlib import Path
from types import ModuleType

import pytest

from prefd.daemon.specs.data_spec import DataSpec
from prefd.daemon.worker.data.prepare import DataError, prepare
from prefd.plugins.manager import load_plugins
from prefd.plugins.types import Pair
from support import tiny_model
from support.chat_templates import END, START
from support.encoded_pairs import Load, encoded, reason, settings

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
        tokenizer, calls = load(None, chat_template_type="prefd_test"), []
        for tone in ("kind", "stern", None):
            monkeypatch.setenv("TONE", tone) if tone else monkeypatch.delenv("TONE")
            calls.append(encoded(tokenizer, Pair("q", "a", "b")))
        (prompt, _), notes = calls[0]
        assert calls == [calls[0]] * 3
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

    def test_a_keyword_that_a_template_in_python_does_not_take_is_named(
        self, load: Load, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        in_python(monkeypatch, "", "str(enable_thinking)")
        tokenizer = load(None, chat_template_type="prefd_test")
        (prompt, _), _ = encoded(tokenizer, Pair("q", "a", "b", chat_template_kwargs={"enable_thinking": False}))
        assert prompt.startswith("False")
        assert reason(tokenizer, Pair("q", "a", "b", chat_template_kwargs={"colour": 1})) == (
            "chat_template_kwargs has 'colour', which the chat template, Python code, does not take: leave it out"
        )

    @pytest.mark.parametrize("asks", ["random.Random().random()", "next(count)", "uuid.uuid1()"])
    def test_a_template_in_python_that_writes_another_text_each_time_is_refused(
        self, load: Load, monkeypatch: pytest.MonkeyPatch, asks: str
    ) -> None:
        in_python(monkeypatch, "", f"str({asks})", top="import itertools, random, uuid\ncount = itertools.count()\n")
        expected = "the chat template writes another text each time it is rendered"
        assert reason(load(None, chat_template_type="prefd_test"), Pair("q", "a", "b")) == expected


def test_a_column_that_the_chat_template_takes_as_an_argument_is_asked_about(tmp_path: Path, load: Load) -> None:
    formats = load_plugins().formats
    tokenizer = load(
        tiny_model.CHATML + "{% if date_string is defined %}{{ date_string }}{% endif %}{% set tag = 1 %}{{ tag }}"
    )
    rows = [
        {"prompt": "q", "chosen": f"a{n}", "rejected": "b", "date_string": "1 Jan 2000", "tag": "x"} for n in range(3)
    ]
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(
        DataError, match="the chat template reads 'date_string', and a column of that name is not handed to it"
    ):
        prepare(DataSpec(path=str(path), validation=0.0), tokenizer, formats)
    settings_that_do = (
        DataSpec(path=str(path), validation=0.0, ignore_columns=["date_string"]),
        DataSpec(path=str(path), validation=0.0, chat_template="none"),
    )
    for spec in settings_that_do:
        assert len(prepare(spec, tokenizer, formats).train) == 3
