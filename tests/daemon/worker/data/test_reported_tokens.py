"""Conditions that users of other trainers reported, on the tiny models that were made for them (../shared/faults)."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from prefd.daemon.worker.data.prepare import DataError, PreparedData
from prefd.daemon.worker.data.tokens import Completion
from prefd.daemon.worker.errors import JobError
from prefd.daemon.worker.job import RunningJob
from prefd.daemon.worker.models import loading
from prefd.daemon.worker.models.source import ModelSource
from support.fault_cases import FAULTS, Model, maker
from support.jobs_on_disk import make_job, run_precompute

pytestmark = pytest.mark.skipif(not FAULTS.exists(), reason="the reported conditions are not here")

TURNS_OF_08 = ["Hello<|im_end|>", "Farewell<|im_end|>"], ["Go<|im_end|>", "Because<|im_end|>"]
ARGUMENTS = '<tool_call>\n{{"name": "weather", "arguments": {{"city": "{}"}}}}\n</tool_call><|im_end|>'


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return maker(tmp_path_factory.mktemp("models"))


def claimed(home: Path, model: Path, case: str | list[dict[str, Any]], **data: Any) -> RunningJob:
    """The job of a case, or of rows of our own, on `model`."""
    path = home.parent / "rows.jsonl"
    if isinstance(case, str):
        shutil.copy(next((FAULTS / "cases" / case).glob("*.jsonl")), path)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in case))
    return make_job(home, model=str(model), data={"path": str(path), "validation": 0.0, **data})


def read(home: Path, model: Path, case: str | list[dict[str, Any]], **data: Any) -> tuple[Any, PreparedData]:
    running_job = claimed(home, model, case, **data)
    return running_job.tokenizer, running_job.data


def texts(tokenizer: Any, side: Completion) -> tuple[str, str]:
    ids = side.ids.tolist()
    return tokenizer.decode(ids[: side.start]), tokenizer.decode(ids[side.start :])


def own(tokenizer: Any, side: Completion) -> str:
    ids = side.ids[side.start :]
    text: str = tokenizer.decode(ids[side.own].tolist())
    return text


def refused(home: Path, model: Path, case: str | list[dict[str, Any]]) -> str:
    with pytest.raises(DataError) as caught:
        read(home, model, case)
    return str(caught.value)


@pytest.mark.parametrize(
    ("case", "name", "expected"),
    [
        ("05-roles-human", "chatml", "role 'Human' is not one of system, user, assistant, tool: rename it"),
        ("10-pretemplated", "chatml", "set data.chat_template: none"),
        ("10b-pretemplated-implicit", "chatml", "set data.chat_template: none"),
        ("11b-image-part", "chatml", "an image; prefd trains on text"),
        ("19h-tools-chatml-no-support", "chatml", "the chat template does not show tool calls"),
    ],
)
def test_rows_that_are_refused_with_the_reason(home: Path, model: Model, case: str, name: str, expected: str) -> None:
    assert expected in refused(home, model(name), case)


def sides(role: str) -> list[dict[str, Any]]:
    """A row whose sides are a question and an answer by somebody of that role."""
    question = {"role": "user", "content": "Hi"}
    return [{side: [question, {"role": role, "content": side}] for side in ("chosen", "rejected")}]


@pytest.mark.parametrize("role", ["gpt", "bot"])
def test_48_a_role_that_no_template_knows(home: Path, model: Model, role: str) -> None:
    expected = f"role {role!r} is not one of system, user, assistant, tool: rename it (rows.jsonl:1)"
    assert expected in refused(home, model("chatml"), sides(role))


def test_21f_a_csv_of_pythons_repr(home: Path, model: Model) -> None:
    path = home.parent / "d.csv"
    chats = [[{"role": "user", "content": "Say red."}, {"role": "assistant", "content": it}] for it in ("red", "no")]
    path.write_text(f'prompt,chosen,rejected\nSay red.,"{chats[0]}","{chats[1]}"\n')
    running_job = make_job(home, model=str(model("chatml")), data={"path": str(path), "validation": 0.0})
    with pytest.raises(DataError, match=r"Python's repr of messages; write JSON \(json\.dumps, or DataFrame\.to_json"):
        _ = running_job.data


def calling(**arguments: Any) -> list[dict[str, Any]]:
    function = {"name": "weather", "arguments": arguments}
    return [{"role": "assistant", "content": None, "tool_calls": [{"type": "function", "function": function}]}]


def test_19c_a_null_in_arguments_and_in_a_schema(home: Path, model: Model) -> None:
    city = {"type": "string", "default": None}
    tools = [{"type": "function", "function": {"name": "weather", "parameters": {"properties": {"city": city}}}}]
    conversation = [{"role": "user", "content": "Rain in Rome?"}]
    row = {
        "prompt": conversation,
        "tools": tools,
        "chosen": calling(city="Rome", unit=None),
        "rejected": calling(city="Rome"),
    }
    tokenizer, data = read(home, model("tools"), [row])
    prompt, chosen = texts(tokenizer, data.train[0].chosen)
    assert '"city": {"type": "string", "default": null}' in prompt
    assert '"arguments": {"city": "Rome", "unit": null}}' in chosen
    assert '"arguments": {"city": "Rome"}}' in texts(tokenizer, data.train[0].rejected)[1]


def test_19i_tools_that_the_template_leaves_out(home: Path, model: Model) -> None:
    tools = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}]
    row = {"prompt": "Rain in Rome?", "tools": tools, "chosen": "I cannot tell.", "rejected": "Yes."}
    assert "1 × the chat template does not show tools (rows.jsonl:1)" in refused(home, model("chatml"), [row])


def test_10c_sides_that_repeat_the_prompt(home: Path, model: Model) -> None:
    row = {"prompt": "Greet me.", "chosen": "Greet me. Hello", "rejected": "Greet me. Go"}
    _, data = read(home, model("chatml"), [row])
    message = (
        "1 pair whose sides both begin with their prompt, which the model would learn to repeat: take it out of chosen"
    )
    assert any(line.startswith(message) for line in data.report.lines())


def test_14b_a_template_without_a_system_turn(home: Path, model: Model) -> None:
    prompt = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]
    message = refused(home, model("gemma"), [{"prompt": prompt, "chosen": "Hello", "rejected": "Go"}])
    assert "System role not supported; put the system turn's words into the first user turn (rows.jsonl:1)" in message


def test_30c_a_template_that_lies_where_no_tokenizer_looks(home: Path, model: Model) -> None:
    folder = model("notemplate")
    (folder / "chat_template.json").write_text(json.dumps({"chat_template": "{{ messages }}"}))
    try:
        _, data = read(home, folder, "29-no-template-messages")
    finally:
        (folder / "chat_template.json").unlink()
    (message,) = [line for line in data.report.lines() if line.startswith("the tokenizer has no chat template")]
    assert message.endswith("put the text in it into chat_template.jinja")


def test_08_several_turns(home: Path, model: Model) -> None:
    tokenizer, data = read(home, model("chatml"), "08-multiturn-diverge")
    example = data.train[0]
    for side, turns in zip((example.chosen, example.rejected), TURNS_OF_08):
        assert own(tokenizer, side) == "".join(turns)
    assert "1 pair whose answer has several turns: only the assistant's own tokens count" in data.report.lines()


def test_10_templated_rows_taken_as_they_are(home: Path, model: Model) -> None:
    tokenizer, data = read(home, model("chatml"), "10-pretemplated", chat_template="none")
    prompt = "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nGreet me.<|im_end|>\n<|im_start|>assistant\n"
    assert texts(tokenizer, data.train[0].chosen) == (prompt, "Hello<|im_end|>")


def test_11_content_parts(home: Path, model: Model) -> None:
    tokenizer, data = read(home, model("chatml"), "11-content-parts")
    prompt = "<|im_start|>user\nGreet me.<|im_end|>\n<|im_start|>assistant\n"
    assert texts(tokenizer, data.train[0].chosen) == (prompt, "Hello<|im_end|>")


def test_12_json_text_of_messages(home: Path, model: Model) -> None:
    tokenizer, data = read(home, model("chatml"), "12-json-string-messages")
    assert [texts(tokenizer, each.chosen) for each in data.train] == [
        (f"<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n", "Hello<|im_end|>")
        for question in ("Hi", "Ho")
    ]


def test_18_thinking_blocks_that_stay_open(home: Path, model: Model) -> None:
    _, data = read(home, model("r1"), "18-r1")
    lines = [line for line in data.report.lines() if "thinking block" in line]
    assert [line.partition(":")[0] for line in lines] == [
        "2 pairs whose answer does not close the thinking block that the prompt opens"
    ]
    assert not [line for line in data.report.lines() if "they do not join" in line]


@pytest.mark.parametrize("case", ["19b-tool-string-args", "19f-tool-str-list"])
def test_19_tools_and_calls(home: Path, model: Model, case: str) -> None:
    tokenizer, data = read(home, model("tools"), case)
    prompt, side = texts(tokenizer, data.train[0].chosen)
    assert '"unit": {"type": ["string", "null"], "default": null, "enum": ["c", "f", null]}' in prompt
    assert side == ARGUMENTS.format("Rome")


def test_19g_a_tools_result_is_not_the_models(home: Path, model: Model) -> None:
    tokenizer, data = read(home, model("tools"), "19g-agent-trajectory")
    assert own(tokenizer, data.train[0].chosen) == ARGUMENTS.format("Rome") + "Sunny<|im_end|>"


def test_25_tokens_that_the_model_has_not(home: Path, model: Model) -> None:
    with pytest.raises(
        JobError, match=r"^rows\.jsonl:1: token '<\|turn\|>' \(id \d+\) is not in the model's vocabulary of \d+ "
    ):
        run_precompute(claimed(home, model("unresized"), "25-oov-added-token"))
    rows = [
        {"prompt": "Say red", "chosen": "red", "rejected": "no"},
        {"prompt": "Say", "chosen": "a <tool>", "rejected": "b"},
    ]
    with pytest.raises(
        JobError, match=r"^rows\.jsonl:2: token '<tool>' .*; resize the model or take the token out of the tokenizer$"
    ):
        run_precompute(claimed(home, model("unresized-answer"), rows))
    assert not list(home.glob("cache/refs/*/segments/*"))


def test_26_positions_that_the_model_has_not(home: Path, model: Model) -> None:
    expected = r"data\.max_length is 1024 and the model has 32 positions \(n_positions, .*\): set it to 32$"
    with pytest.raises(JobError, match=expected):
        run_precompute(claimed(home, model("positions"), "26-positions"))
    assert run_precompute(claimed(home, model("positions"), "26-positions", max_length=32)).ok


def test_29_messages_without_a_template(home: Path, model: Model) -> None:
    _, data = read(home, model("notemplate"), "29-no-template-messages")
    assert "the tokenizer has no chat template: messages are written as Human:/Assistant:" in data.report.lines()


@pytest.mark.parametrize("name", ["gemma", "gemma-generation-config"])
def test_39_eos_of_the_config(home: Path, model: Model, name: str) -> None:
    running_job = claimed(home, model(name), "39-eos-of-config")
    tokenizer = loading.tokenizer(ModelSource(str(model(name))))
    assert [texts(tokenizer, side)[1] for each in running_job.data.train for side in (each.chosen, each.rejected)] == [
        f"{word}<end_of_turn>" for word in ("letter", "lamp", "stone", "lamp")
    ]
    run_precompute(running_job)
    sides = [side for each in running_job.data.train for side in (each.chosen, each.rejected)]
    assert [len(value) for value in running_job.store.get([running_job.key(side) for side in sides])] == [
        len(side.ids) - side.start for side in sides
    ]


def test_44_a_template_that_prints_the_minute(home: Path, model: Model) -> None:
    tokenizer, data = read(home, model("date"), "44-date-in-template")
    assert texts(tokenizer, data.train[0].chosen)[0].startswith(
        "<|im_start|>system\nToday: 26 Jul 2024 00:00<|im_end|>\n"
    )
    assert "the chat template prints the date; prompts are rendered as of 2024-07-26 (data.date)" in data.report.lines()
