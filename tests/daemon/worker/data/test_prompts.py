"""What a job's prompts are, through the tokenizer that a job has: settings, tools, parts and calls."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from prefd.daemon.worker.data.tokens import Encoder
from prefd.daemon.worker.models import loading
from prefd.daemon.worker.models.source import ModelSource
from prefd.plugins.types import Pair
from support import tiny_model
from support.chat_templates import AS_OBJECT, CALLS, END, INST, START, TOOL, answer, call, user
from support.encoded_pairs import Load, encoded, reason, settings, texts

PARTS_ONLY = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] }}{% for p in m['content'] %}{{ '|' + p['text'] }}{% endfor %}"
    "{{ '<|im_end|>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant|' }}{% endif %}"
)
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


class TestSettings:
    def test_a_rows_arguments_win_over_the_datasets(self, load: Load) -> None:
        tokenizer = load("{{ tone }}{{ size }}\n" + tiny_model.CHATML)
        row_settings = settings(kwargs={"tone": "kind", "size": 1, "colour": "red"})
        (prompt, _), notes = encoded(tokenizer, Pair("q", "a", "b", chat_template_kwargs={"size": 2}), row_settings)
        assert prompt.startswith("kind2\n")
        assert notes == ["chat_template_kwargs that the chat template does not read: colour"]

    def test_no_template_is_told_of_where_there_are_messages(self, load: Load) -> None:
        pair = Pair([user("q")], [answer("a")], [answer("b")])
        written = "messages are written as Human:/Assistant:"
        assert encoded(load(None), pair)[1] == [f"the tokenizer has no chat template: {written}"]
        texts, notes = encoded(load(), pair, settings(template="none"))
        assert texts == ("\n\nHuman: q\n\nAssistant:", f" a{END}")
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
        texts, _ = encoded(load(template), Pair("q", [call()], "b"))
        assert texts[1] == f"<call>weather{written}</call>{END}"

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

    def test_arguments_that_are_not_shown(self, load: Load) -> None:
        names_only = AS_OBJECT.replace("(c.function.arguments | tojson)", "''")
        expected = "the chat template does not show a tool call's 'arguments'"
        assert reason(load(names_only), Pair("q", [call()], "b")) == expected
        elsewhere = answer(
            "", tool_calls=[{"type": "function", "function": {"name": "weather", "input": {"city": "Rome"}}}]
        )
        expected = "the chat template does not show a tool call's 'input': call it 'arguments'"
        assert reason(load(names_only), Pair("q", [elsewhere], "b")) == expected

    def test_keys_of_messages_that_are_not_read_are_named(self, load: Load) -> None:
        side = [answer("a", citations=["c"], thought="because", id="7", annotations=[])]
        note = "keys of messages that the chat template does not read: citations, thought"
        assert encoded(load(), Pair("q", side, "b"))[1] == [note]
        assert encoded(load(tiny_model.CHATML + "{# citations thought #}"), Pair("q", side, "b"))[1] == []

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
