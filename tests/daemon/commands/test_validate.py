from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from prefd.daemon.commands.shared.errors import Exit
from prefd.daemon.home.layout import Home
from support import homes
from support import tiny_model as tiny
from support.homes import invoke

pytestmark = pytest.mark.usefixtures("answers_in_process")


def test_validate_says_what_would_run(home: Path, tmp_path: Path, tiny_model: Path, pairs_file: Path) -> None:
    spec = homes.write_spec(tmp_path / "first.json", tiny_model, pairs_file, loss={"name": "ipo", "beta": 0.2})
    result = invoke(Home(home), "validate", spec)
    assert result.exit_code == Exit.OK, result.output
    assert result.stdout.splitlines()[0] == f"{spec}: ok"
    for part in [
        "first",
        str(tiny_model),
        str(pairs_file),
        "ipo (beta 0.2)",
        "4 steps, 2 pairs a batch",
        "frozen copy",
    ]:
        assert part in result.stdout
    assert not home.exists(), "nothing is written"


def test_validate_shows_every_error_of_every_spec(
    home: Path, tmp_path: Path, tiny_model: Path, pairs_file: Path
) -> None:
    good = homes.write_spec(tmp_path / "good.json", tiny_model, pairs_file)
    bad = homes.write_spec(
        tmp_path / "bad.json", tiny_model, pairs_file, training={"learning_rte": 1e-5, "batch_size": 0}
    )
    gone = tmp_path / "gone.yaml"
    result = invoke(Home(home), "validate", good, bad, gone)
    assert result.exit_code == Exit.FAILED
    assert f"{good}: ok" in result.stdout
    assert "bad" not in result.stdout
    assert "learning_rate" in result.stderr
    assert "batch_size" in result.stderr
    assert str(gone) in result.stderr
    assert "Traceback" not in result.stderr


def test_validate_json_has_one_entry_for_each_spec(
    home: Path, tmp_path: Path, tiny_model: Path, pairs_file: Path
) -> None:
    good = homes.write_spec(tmp_path / "good.json", tiny_model, pairs_file)
    bad = homes.write_spec(tmp_path / "bad.json", tiny_model, pairs_file, loss={"name": "ip"})
    result = invoke(Home(home), "validate", good, bad, "--json")
    assert result.exit_code == Exit.FAILED
    first, second = json.loads(result.stdout)["specs"]
    assert first["ok"]
    assert first["spec"]["training"]["iters"] == 4
    assert not second["ok"]
    assert any("ipo" in line for line in second["errors"])
    (fault,) = second["faults"]
    assert (fault["line"], fault["path"]) == (1, "loss.name")
    assert fault["message"] in second["errors"][0]
    assert bad.read_text()[fault["column"] - 1 :].startswith('"name": "ip"')
    assert second["spec"] is None
    assert result.stderr == ""


def test_a_relative_path_is_relative_to_the_spec(
    home: Path, tmp_path: Path, tiny_model: Path, pairs_file: Path
) -> None:
    spec = homes.write_spec(tmp_path / "first.json", tiny_model, Path(pairs_file.name))
    document = json.loads(invoke(Home(home), "validate", spec, "--json").stdout)["specs"][0]
    assert document["spec"]["data"]["path"] == str(pairs_file)


def test_validate_lists_the_jobs_of_a_sweep(home: Path, tmp_path: Path, tiny_model: Path, pairs_file: Path) -> None:
    sweep = {"loss.name": ["sigmoid", "ipo"], "training.seed": [0, 1]}
    spec = homes.write_spec(tmp_path / "many.json", tiny_model, pairs_file, sweep=sweep)
    lines = invoke(Home(home), "validate", spec).stdout.splitlines()
    assert lines[0] == f"{spec}: ok, a sweep of 4 jobs"
    assert lines[4].strip().split(maxsplit=1) == ["many-4", "loss.name ipo, training.seed 1"]
    document = json.loads(invoke(Home(home), "validate", spec, "--json").stdout)["specs"][0]
    assert document["spec"] is None
    assert [job["loss"]["name"] for job in document["jobs"]] == ["sigmoid", "sigmoid", "ipo", "ipo"]


def test_a_command_for_one_job_refuses_a_sweep(home: Path, tmp_path: Path, tiny_model: Path, pairs_file: Path) -> None:
    spec = homes.write_spec(tmp_path / "many.json", tiny_model, pairs_file, sweep={"training.seed": [0, 1]})
    for command in (["run"], ["cache", "explain"]):
        result = invoke(Home(home), *command, spec)
        assert result.exit_code == Exit.FAILED
        assert "a sweep of 2 jobs, where one job is wanted: hand it in with `prefd submit`" in result.stderr


def test_validate_notes_what_a_flat_config_leaves_behind(
    home: Path, tmp_path: Path, tiny_model: Path, pairs_file: Path
) -> None:
    spec = tmp_path / "old.yaml"
    spec.write_text(f"model: {tiny_model}\ndata: {pairs_file}\ntrain_mode: dpo\nadapter_path: adapters\n")
    result = invoke(Home(home), "validate", spec)
    assert result.exit_code == Exit.OK, result.output
    assert "old.yaml: ignored: adapter_path, because a job's adapter is in its own folder" in result.stderr
    document = json.loads(invoke(Home(home), "validate", spec, "--json").stdout)["specs"][0]
    assert len(document["notes"]) == 2
    assert document["spec"]["loss"] == {"name": "sigmoid"}


def test_validate_opens_the_data(home: Path, tmp_path: Path, tiny_model: Path, pairs_file: Path) -> None:
    rows = pairs_file.read_text().splitlines()
    pairs_file.write_text("\n".join([*rows, json.dumps({"prompt": "q", "chosen": "a", "rejected": ""})]))
    spec = homes.write_spec(tmp_path / "first.json", tiny_model, pairs_file)
    result = invoke(Home(home), "validate", spec)
    assert result.exit_code == Exit.OK, result.output
    lines = [line.strip() for line in result.stdout.splitlines()]
    assert lines[-3:] == [
        f"rows       {pairs_file}: 9 rows in format explicit, 8 usable",
        "unusable: 1 × empty completion (pairs.jsonl:9)",
        "8 pairs to train on, 0 held out",
    ]
    (document,) = json.loads(invoke(Home(home), "validate", spec, "--json").stdout)["specs"]
    (look,) = document["data"]
    assert (look["jobs"], look["not_reached"], look["data"]["used"]) == (["first"], None, 8)


def test_validate_refuses_data_that_a_run_would_refuse(
    home: Path, tmp_path: Path, tiny_model: Path, pairs_file: Path
) -> None:
    data = {"path": str(pairs_file), "max_length": 2}
    bad = homes.write_spec(tmp_path / "bad.json", tiny_model, pairs_file, data=data)
    good = homes.write_spec(tmp_path / "good.json", tiny_model, pairs_file)
    result = invoke(Home(home), "validate", bad, good)
    assert result.exit_code == Exit.FAILED
    assert f"{good}: ok" in result.stdout
    assert f"{bad}: ok" not in result.stdout
    expected = f"data.path: {pairs_file}: none of its 8 rows can be used: 8 × nothing left after truncation"
    assert result.stderr.startswith(f"error: {bad}\n       {expected}")
    first, second = json.loads(invoke(Home(home), "validate", bad, good, "--json").stdout)["specs"]
    assert (first["ok"], second["ok"]) == (False, True)
    assert first["errors"][0].startswith(expected)


def test_validate_without_data_looks_at_the_spec_alone(
    home: Path, tmp_path: Path, tiny_model: Path, pairs_file: Path
) -> None:
    data = {"path": str(pairs_file), "max_length": 2}
    spec = homes.write_spec(tmp_path / "first.json", tiny_model, pairs_file, data=data)
    result = invoke(Home(home), "validate", spec, "--no-data")
    assert result.exit_code == Exit.OK
    assert "rows" not in result.stdout
    (document,) = json.loads(invoke(Home(home), "validate", spec, "--no-data", "--json").stdout)["specs"]
    assert document["data"] == []


def test_validate_tells_each_different_data_of_a_sweep(
    home: Path, tmp_path: Path, tiny_model: Path, pairs_file: Path
) -> None:
    sweep = {"data.max_length": [128, 60], "training.seed": [0, 1]}
    spec = homes.write_spec(tmp_path / "many.json", tiny_model, pairs_file, sweep=sweep)
    (document,) = json.loads(invoke(Home(home), "validate", spec, "--json").stdout)["specs"]
    facts = [(look["jobs"], look["data"]["truncated"]) for look in document["data"]]
    assert facts == [(["many-1", "many-2"], 0), (["many-3", "many-4"], 5)]
    assert "  rows of many-3  " in invoke(Home(home), "validate", spec).stdout


def test_validate_refuses_a_peft_adapter_of_a_model_that_transformers_cannot_load(
    home: Path, tmp_path: Path, tiny_model: Path, pairs_file: Path
) -> None:
    quantized = tmp_path / "quantized"
    shutil.copytree(tiny_model, quantized)
    config = json.loads((quantized / "config.json").read_text())
    (quantized / "config.json").write_text(json.dumps(config | {"quantization": {"group_size": 64, "bits": 4}}))
    for model, code in ((tiny_model, Exit.OK), (quantized, Exit.FAILED)):
        spec = homes.write_spec(tmp_path / "a.json", model, pairs_file, output={"peft": True})
        assert invoke(Home(home), "validate", spec).exit_code == code
    assert f"output.peft: {quantized} is quantized in MLX's own format" in invoke(Home(home), "validate", spec).stderr


@pytest.mark.parametrize(
    ("name", "text", "fault"),
    [
        ("prompts.txt", "\n  \n", "prompts.txt has no prompt; write one prompt a line"),
        ("prompts.jsonl", '{"prompt": ""}\n', "prompts.jsonl:1: prompt is ''; it must be a text, or messages"),
    ],
)
def test_validate_reads_the_prompts_of_samples(
    home: Path, tmp_path: Path, tiny_model: Path, pairs_file: Path, name: str, text: str, fault: str
) -> None:
    (tmp_path / name).write_text(text)
    samples = {"prompts": str(tmp_path / name)}
    spec = homes.write_spec(tmp_path / "a.json", tiny_model, pairs_file, eval_samples=samples)
    answer = invoke(Home(home), "validate", spec)
    assert answer.exit_code == Exit.FAILED
    assert fault in answer.stderr


def test_validate_says_what_it_could_not_look_at(
    home: Path, tmp_path: Path, tiny_model: Path, pairs_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    name = tiny.keep_as_hub_model(tmp_path / "hub", tiny_model)
    sweep = {"training.lora.keys": [["q_proj"], ["qproj"]]}
    spec = homes.write_spec(tmp_path / "a.json", Path(name), pairs_file, sweep=sweep)
    result = invoke(Home(home), "validate", spec)
    assert result.exit_code == Exit.OK, result.output
    message = "training.lora.keys: the weights of org/tiny are not on this machine yet"
    assert result.stderr == f"warning: a.json: not looked at: {message}\n"
    (document,) = json.loads(invoke(Home(home), "validate", spec, "--json").stdout)["specs"]
    assert [look["unchecked"] for look in document["data"]] == [message]


def test_validate_says_that_the_hub_was_silent_and_passes_the_spec(
    home: Path, tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    spec = homes.write_spec(tmp_path / "a.json", tiny_model, Path("no-such-org/no-such-data"))
    result = invoke(Home(home), "validate", spec)
    assert result.exit_code == Exit.OK, result.output
    assert result.stdout.splitlines()[-1].split() == ["rows", "not", "looked", "at"]
    assert "warning: a.json: its data was not looked at: data.path: no-such-org/no-such-data" in result.stderr
    (document,) = json.loads(invoke(Home(home), "validate", spec, "--json").stdout)["specs"]
    assert document["data"][0]["data"] is None
    assert "no-such-org/no-such-data" in document["data"][0]["not_reached"]


def test_a_plugin_that_is_left_out_is_told_by_what_reads_a_spec(
    home: Path, tmp_path: Path, tiny_model: Path, pairs_file: Path
) -> None:
    Home(home).create()
    Home(home).config.write_text('plugins = ["nope.py"]')
    spec = homes.write_spec(tmp_path / "first.json", tiny_model, pairs_file)
    words = "warning: the plugin nope cannot be loaded, and is left out: FileNotFoundError"
    for command in (("validate", "--no-data"), ("cache", "explain")):
        result = invoke(Home(home), *command, spec, "--json")
        assert words in result.stderr, command
        assert json.loads(result.stdout), command
