"""Every spec of ../shared/faults as it was handed over: what `prefd validate` says of it, and what running it gives where that counts."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from prefd.daemon.home.layout import Home
from prefd.daemon.specs.spec_error import SpecError
from prefd.daemon.worker.errors import JobError, Stopped
from prefd.daemon.worker.job import RunningJob
from prefd.daemon.worker.preview import check_data
from prefd.daemon.worker_tasks.inputs import DataCheckInput
from support.daemon_process import PREFD, Daemon
from support.fault_cases import CASES, Model, all_specs, copy_case, maker, read_handed
from support.homes import invoke
from support.jobs_on_disk import (
    StopAtLook,
    adapter_digest,
    again,
    finished,
    make_job,
    metrics,
    run_precompute,
    run_training,
)
from support.template_clock import SetClock

pytestmark = pytest.mark.skipif(not CASES.is_dir(), reason="the faults are not here")

ELSEWHERE = "27-mxfp4/"
"""Run by test_faults_specs.py, with the logits of what they write."""
TEMPLATED = "templated already: it holds '<|im_start|>', which the chat template writes itself"
NO_TOKEN = "data.jsonl:1: token '<|turn|>' (id 361) is not in the model's vocabulary of 361"
DOCUMENT = "d.jsonl: a JSON document, where its name promises an object a line; it was read as such"
DATED = "the chat template prints the date; prompts are rendered as of 2024-07-26 (data.date)"
TURNS = "1 pair whose answer has several turns: only the assistant's own tokens count"
ORPO = "no loss is called 'orpo'; contrib/prefd-trl-losses, a plugin, brings orpo"

READ: dict[str, tuple[int, list[str]]] = {
    "01-orca-question/job.yaml": (3, ["columns read: system, question, chosen, rejected"]),
    "01-orca-question/pre.yaml": (3, ["columns read: system, question, chosen, rejected"]),
    "01b-question-no-common-words/job.yaml": (2, ["columns read: question, chosen, rejected"]),
    "02-system-column/pre.yaml": (2, ["columns read: system, prompt, chosen, rejected"]),
    "03-alpaca/job.yaml": (2, ["columns read: instruction, input, chosen, rejected"]),
    "06-sharegpt/job.yaml": (1, ["columns read: conversations, chosen, rejected"]),
    "06b-sharegpt-lists/job.yaml": (1, []),
    "07-axolotl-chat/job.yaml": (1, ["columns read: messages, chosen, rejected"]),
    "07b-messages-col-lists/job.yaml": (1, ["columns read: messages, chosen, rejected"]),
    "07c-messages-col-str/job.yaml": (1, ["columns read: messages, chosen, rejected"]),
    "08-multiturn-diverge/job.yaml": (1, [TURNS]),
    "11-content-parts/pre.yaml": (1, []),
    "12-json-string-messages/pre.yaml": (2, []),
    "18-r1/job.yaml": (4, ["2 pairs whose answer does not close the thinking block that the prompt opens"]),
    "19b-tool-string-args/job.yaml": (1, []),
    "19f-tool-str-list/job.yaml": (1, []),
    "19g-agent-trajectory/job.yaml": (1, [TURNS]),
    "20-gz/job.yaml": (3, []),
    "20b-tsv/job.yaml": (1, []),
    "21-csv-semicolon/job.yaml": (1, ["d.csv: its cells are separated by a semicolon, and were read so"]),
    "21b-csv-tab/job.yaml": (1, ["d.csv: its cells are separated by a tab, and were read so"]),
    "22-json-list-in-jsonl/job.yaml": (3, [DOCUMENT]),
    "22b-json-list-one-line-in-jsonl/job.yaml": (3, [DOCUMENT]),
    "22c-json-wrapper/job.yaml": (3, ["d.json: its rows were read from under 'data'"]),
    "22d-json-split-wrapper/job.yaml": (3, ["d.json: its rows were read from under 'train', and not 'test'"]),
    "22e-json-columns/job.yaml": (3, ["d.json: a list for each column; read as its rows"]),
    "22f-json-pandas/job.yaml": (3, ['d.json: written by pandas with orient="columns"; read as its rows']),
    "23-save-to-disk/job.yaml": (3, []),
    "23c-folder-with-meta/job.yaml": (3, []),
    "29-no-template-messages/job.yaml": (1, ["the tokenizer has no chat template: messages are written as Human:/Assistant:"]),
    "39-eos-of-config/job.yaml": (2, []),
    "39-eos-of-config/job2.yaml": (2, []),
    "41-specs/ckpt.yaml": (24, []),
    "41-specs/lr.yaml": (24, []),
    "41-specs/target.yaml": (24, []),
    "41-specs/think.yaml": (24, ["chat_template_kwargs that the chat template does not read: enable_thinking"]),
    "44-date-in-template/job.yaml": (24, [DATED]),
    "44-date-in-template/long.yaml": (24, [DATED]),
    "45-row-numbers/job.yaml": (
        2,
        ["unusable: 1 × empty completion (a.jsonl:4)", "unusable: 1 × wrong types: chosen is a number, not text or chat messages (b.jsonl:2)"],
    ),
    "46-score-inverted/job.yaml": (
        2,
        ["in 1 pair chosen scores lower than rejected (data.jsonl:1)", "in 1 pair both sides have the same score (data.jsonl:2)"],
    ),
}  # fmt: skip
"""How many pairs there are, and lines of the report by their beginnings. What they read as is in the tests that are
named after what went wrong (test_reported_tokens.py, test_shapes.py, test_fault_files.py)."""

REFUSED = {
    "05-roles-human/job.yaml": "role 'Human' is not one of system, user, assistant, tool: rename it (data.jsonl:1)",
    "10-pretemplated/job.yaml": TEMPLATED,
    "10b-pretemplated-implicit/job.yaml": TEMPLATED,
    "11b-image-part/job.yaml": "an image; prefd trains on text (data.jsonl:1)",
    "19h-tools-chatml-no-support/job.yaml": "the chat template does not show tool calls (data.jsonl:1)",
    "24g-empty-parquet/job.yaml": "a.parquet: the file is empty: it has no rows",
    "25-oov-added-token/cpo.yaml": NO_TOKEN,
    "25-oov-added-token/job.yaml": NO_TOKEN,
    "26-positions/job.yaml": "data.max_length is 1024 and the model has 32 positions (n_positions, ",
    "41-specs/alpha.yaml": "training.lora.alpha: unknown key; mlx-lm has a scale in its place, alpha / rank: training.lora.scale",
    "41-specs/colmissing.yaml": "pairs.jsonl has no column 'question'; its columns: prompt, chosen, rejected.",
    "41-specs/dpo.yaml": "no loss is called 'dpo'; DPO's loss is `sigmoid`",
    "41-specs/flat-orpo.yaml": 'train_mode: must be dpo or cpo; got "orpo"',
    "41-specs/list.yaml": "data.path[1]: it is data.path[0] already; training.epochs repeats pairs",
    "41-specs/lrstr.yaml": 'training.learning_rate: expected a number, got "5e-6" (take the quotes away)',
    "41-specs/maxprompt.yaml": "data.max_prompt_length: unknown key; data.max_length bounds prompt and answer together",
    "41-specs/orpo.yaml": ORPO,
    "41-specs/system.yaml": "data.system_feature: ",
}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return maker(tmp_path_factory.mktemp("models"))


def claim(home: Path, model: Model, name: str, folder: Path, job_id: int = 1) -> RunningJob:
    """The job of a handed spec, with nothing of it changed."""
    case, _, file = name.partition("/")
    spec = read_handed((folder if (folder / file).exists() else copy_case(case, folder)) / file, model)
    return make_job(home, job_id, **spec.model_dump(exclude_unset=True))


def test_every_spec_that_was_handed_over_is_tried() -> None:
    assert {name for name in all_specs() if not name.startswith(ELSEWHERE)} == READ.keys() | REFUSED.keys()


@pytest.mark.parametrize("name", sorted(READ))
def test_what_can_be_read_is_and_what_had_to_be_decided_is_said(
    name: str, home: Path, tmp_path: Path, model: Model
) -> None:
    case, _, file = name.partition("/")
    specs = [read_handed(copy_case(case, tmp_path) / file, model)]
    [check] = check_data(Home(home), DataCheckInput(specs=specs)).checks
    pairs, lines = READ[name]
    assert check.error is None, check
    assert check.data is not None
    assert check.data.used + check.data.held_out == pairs
    for line in lines:
        assert any(expected_line.startswith(line) for expected_line in check.data.lines), check.data.lines


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_what_cannot_be_used_is_refused_with_what_is_at_fault(
    name: str, home: Path, tmp_path: Path, model: Model
) -> None:
    case, _, file = name.partition("/")
    try:
        specs = [read_handed(copy_case(case, tmp_path) / file, model)]
        [check] = check_data(Home(home), DataCheckInput(specs=specs)).checks
        message = check.error or ""
    except SpecError as error:
        message = "\n".join(error.lines)
    assert REFUSED[name] in message
    assert "did you mean" not in message.lower()


@pytest.mark.parametrize(
    "name", ["25-oov-added-token/cpo.yaml", "25-oov-added-token/job.yaml", "26-positions/job.yaml"]
)
def test_what_the_model_has_no_place_for_is_neither_scored_nor_trained(
    name: str, home: Path, tmp_path: Path, model: Model
) -> None:
    running_job = claim(home, model, name, tmp_path)
    for run in (run_precompute, run_training):
        with pytest.raises(JobError) as raised:
            run(running_job)
        assert REFUSED[name] in str(raised.value)
    assert not list(home.glob("cache/refs/*/segments/*"))
    assert not running_job.run.adapter.exists()


@pytest.mark.parametrize("file", ["job.yaml", "job2.yaml"])
def test_39_trains_on_what_ends_with_the_turn(file: str, home: Path, tmp_path: Path, model: Model) -> None:
    running_job = finished(claim(home, model, f"39-eos-of-config/{file}", tmp_path))
    answers = [
        side.ids[side.start :].tolist() for each in running_job.data.train for side in (each.chosen, each.rejected)
    ]
    assert [running_job.tokenizer.decode(ids) for ids in answers] == [
        f"{word}<end_of_turn>" for word in ("letter", "lamp", "stone", "lamp")
    ]
    assert running_job.run.adapter.is_dir()


def lines_of(running_job: RunningJob) -> list[dict[str, Any]]:
    timed = ("tokens_per_second", "peak_memory_gb", "time")
    return [{key: value for key, value in line.items() if key not in timed} for line in metrics(running_job)]


@pytest.mark.thorough  # the next test has it with fewer steps
def test_44_as_it_was_handed_over_goes_on_in_another_minute(
    home: Path, tmp_path: Path, model: Model, set_clock: SetClock
) -> None:
    """4,000 steps take hours: both runs are stopped, the one once and the other in two minutes of its clock."""
    set_clock("2026-11-28 23:59:10")
    broken = claim(home, model, "44-date-in-template/long.yaml", tmp_path)
    assert run_precompute(broken).summary.scored == 48
    assert broken.spec.training is not None
    assert broken.spec.training.iters == 4000
    assert broken.spec.training.save_every == 2
    with pytest.raises(Stopped, match="after step 14"):
        run_training(broken, StopAtLook(14))
    set_clock("2026-11-29 00:01:20")
    with pytest.raises(Stopped, match="after step 20"):
        run_training(again(broken), StopAtLook(6))
    twin = claim(home, model, "44-date-in-template/long.yaml", tmp_path, job_id=2)
    assert run_precompute(twin).summary.scored == 0
    with pytest.raises(Stopped, match="after step 20"):
        run_training(twin, StopAtLook(20))
    assert lines_of(broken) == lines_of(twin) != []


@pytest.mark.thorough  # whole/test_prompt_date.py has it on pairs of its own
def test_44_ends_as_its_unbroken_twin_bit_for_bit(
    home: Path, tmp_path: Path, model: Model, set_clock: SetClock
) -> None:
    set_clock("2026-11-28 23:59:10")
    broken = claim(home, model, "44-date-in-template/job.yaml", tmp_path)
    run_precompute(broken)
    with pytest.raises(Stopped):
        run_training(broken, StopAtLook(5))
    set_clock("2026-11-29 00:01:20")
    assert run_training(again(broken)).ok
    twin = claim(home, model, "44-date-in-template/job.yaml", tmp_path, job_id=2)
    assert run_precompute(twin).summary.scored == 0
    assert run_training(twin).ok
    assert adapter_digest(twin) == adapter_digest(broken)


@pytest.mark.slow
@pytest.mark.thorough  # it waits for another minute of the machine's clock; the tests above set one
def test_44_as_its_users_would_a_minute_passes_and_the_daemon_goes_on(home: Path, tmp_path: Path, model: Model) -> None:
    folder = copy_case("44-date-in-template", tmp_path)
    spec = folder / "long.yaml"
    spec.write_text(spec.read_text().replace("MODELS/date", str(model("date"))))
    daemon = Daemon(home, model("date"), folder / "pairs.jsonl")
    metrics = home / "runs" / "1" / "metrics.jsonl"

    def steps() -> int:
        return metrics.read_text().count("\n") if metrics.exists() else 0

    command = [*PREFD, "--home", str(home), "run", str(spec)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as running:
        daemon.until(lambda: steps() > 6, 120)
        running.send_signal(signal.SIGINT)
    trained, minute = steps(), time.localtime().tm_min
    daemon.until(lambda: time.localtime().tm_min != minute, 70)
    daemon.ask("retry", "1")
    try:
        daemon.start()
        daemon.until(lambda: steps() > trained + 4, 120)
        assert daemon.jobs()["long"]["state"] == "training"
        rescored = invoke(daemon.home, "run", "--precompute-only", spec)
        assert "reference: 0 of 48 completions scored" in rescored.stdout, rescored.output
    finally:
        daemon.end()
    seen = [json.loads(line)["step"] for line in metrics.read_text().splitlines()]
    assert seen == list(range(1, len(seen) + 1)), "every step once"
