"""What the daemon makes of bad specs: each has its message, and the next job runs."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from support import fake_worker
from support.running_daemon import Place


def pickles(folder: Path) -> str:
    model = fake_worker.model_folder(folder / "pickled")
    (model / "model.safetensors").rename(model / "pytorch_model.bin")
    return str(model)


def weightless(folder: Path) -> str:
    model = fake_worker.model_folder(folder / "weightless")
    (model / "model.safetensors").unlink()
    return str(model)


def text(**more: Any) -> Callable[[Path], str]:
    return lambda folder: fake_worker.spec_text(folder, **more)


BAD: dict[str, tuple[Callable[[Path], str | bytes], str]] = {
    "empty.yaml": (lambda _: b"", "the file is empty: a spec needs at least `model` and `data.path`"),
    "truncated.yaml": (
        lambda folder: fake_worker.spec_text(folder)[:-3],
        r"line 1, column \d+: expected the node content, but found '<stream end>'; is the file cut short\?",
    ),
    "truncated.json": (lambda _: b'{"model": "a/b", "da', r"line 1, column 18: Unterminated string .*; is the file cut short\?"),
    "binary.yaml": (lambda _: bytes(range(256)) * 4, r"not UTF-8 text \(byte 0x80 at offset 128\): is it a binary file\?"),
    "nul.yaml": (lambda _: b"a\0b", r"line 1, column 2: a NUL character: is it a binary file\?"),
    "huge.yaml": (lambda _: b"a: 1\n" * 2_097_152, "larger than 256 KiB: not a job spec"),
    "unknown-key.yaml": (text(training={"lr": 1e-5}), r"line 1: training\.lr: unknown key; did you mean training\.learning_rate\?"),
    "wrong-type.yaml": (text(training={"batch_size": "many"}), 'line 1: training.batch_size: expected a whole number, got "many"'),
    "nan.yaml": (text(training={"learning_rate": float("nan")}), 'line 1: training.learning_rate: expected a number, got "NaN"'),
    "nan.json": (text(training={"learning_rate": float("nan")}), "line 1: training.learning_rate: expected a finite number, got nan"),
    "inf.yaml": (lambda folder: "a: {b: .inf}", "line 1: a.b: expected a finite number, got inf"),
    "no-such-loss.yaml": (
        text(loss={"name": "sigmod"}),
        r"line 1: loss\.name: no loss is called 'sigmod'; did you mean sigmoid\? known: cpo, dpop, ipo, sigmoid",
    ),
    "loss-parameter.yaml": (text(loss={"name": "ipo", "beta": -0.1}), r"line 1: loss\.beta: must be above 0, got -0\.1 \(ipo\)"),
    "no-weights.yaml": (
        lambda folder: fake_worker.spec_text(folder, model=weightless(folder)),
        r"line 1: model: F/weightless has no weights \(model\*\.safetensors\)",
    ),
    "pickles.yaml": (
        lambda folder: fake_worker.spec_text(folder, model=pickles(folder)),
        "line 1: model: F/pickled has its weights as pickles only; prefd loads safetensors only: convert it first",
    ),
    "no-data.yaml": (
        lambda folder: fake_worker.spec_text(folder, data={"path": str(folder / "no.jsonl")}),
        r"line 1: data\.path: no such file or folder: F/no\.jsonl",
    ),
}  # fmt: skip


def test_every_bad_spec_is_rejected_with_its_message_and_the_next_job_runs(place: Place) -> None:
    with place.daemon() as client:
        for count, (name, (make, expected)) in enumerate(BAD.items(), 1):
            place.drop(name, make(place.folder))
            fake_worker.wait_for(lambda name=name: name in place.rejected())
            message = place.rejected()[name]
            assert re.fullmatch(f"({re.escape(name)}: )?{expected}", message), message
            place.drop("good.yaml")
            place.wait_for(*(["done"] * count))  # for the next spec writes its dataset anew
        assert client.status().jobs["done"] == len(BAD)
    assert list(place.home.accepted.glob("*good*")) != []
    assert len(list(place.home.rejected.iterdir())) == 2 * len(BAD)


def test_a_file_waits_while_the_losses_cannot_be_listed_and_the_reason_is_told(place: Place) -> None:
    good = (place.folder / "catalog.json").read_text()
    (place.folder / "catalog.json").write_text("!ImportError: no module named mlx")
    with place.daemon() as client:
        place.drop("a.yaml")
        fake_worker.wait_for(lambda: "no module named mlx" in str(client.status().watcher.left_alone))
        assert place.rejected() == {}
        assert "no module named mlx" in str(client.status().catalog.error)
        (place.folder / "catalog.json").write_text(good)
        place.wait_for("done")
        assert client.status().catalog.error is None


def test_a_loss_installed_while_the_daemon_runs_can_be_used_at_once(place: Place) -> None:
    with place.daemon():
        place.drop("a.yaml")
        place.wait_for("done")
        more = json.loads(json.dumps(fake_worker.CATALOG))
        more["losses"]["mine"] = fake_worker.loss()
        (place.folder / "catalog.json").write_text(json.dumps(more))
        place.home.config.write_text("# a change that a plugin's installation stands for\n")
        place.drop("b.yaml", loss={"name": "mine"})
        place.wait_for("done", "done")


def test_a_sweep_with_one_bad_combination_is_no_job_at_all(place: Place) -> None:
    with place.daemon():
        place.drop("many.yaml", sweep={"loss.name": ["ipo", "dpop"], "loss.delta": [5.0]})
        fake_worker.wait_for(lambda: bool(place.rejected()))
        assert list(place.rejected()) == ["many.yaml"]
        assert "(with loss.name ipo, loss.delta 5.0)" in place.rejected()["many.yaml"]
        assert place.jobs() == []


def test_a_job_after_one_that_is_not_there_is_rejected(place: Place) -> None:
    with place.daemon():
        place.drop("a.yaml", after=[1])  # as if after itself
        fake_worker.wait_for(lambda: bool(place.rejected()))
        assert place.rejected()["a.yaml"] == "a.yaml: line 1: after: there is no job 1"
        assert place.jobs() == []


def test_a_relative_path_starts_at_the_watched_folder(place: Place) -> None:
    fake_worker.model_folder(place.home.jobs / "model")
    with place.daemon():
        place.drop("a.yaml", "model: ./model\ndata: {path: ./none.jsonl}")
        fake_worker.wait_for(lambda: bool(place.rejected()))
        assert place.rejected()["a.yaml"] == "a.yaml: line 2: data.path: no such file or folder: F/home/jobs/none.jsonl"
