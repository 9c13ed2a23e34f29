"""Ids and positions that a model's tables have not: refused before anything is scored, and nothing is cached."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from tokenizers import AddedToken, Tokenizer

from prefd.daemon.worker.errors import JobError
from prefd.daemon.worker.job import RunningJob
from prefd.daemon.worker.models import loading
from prefd.daemon.worker.models.lookup_tables import Tables
from prefd.daemon.worker.models.source import ModelSource
from prefd.daemon.worker.reference.estimate import explain
from prefd.daemon.worker_tasks.inputs import ExplainInput
from support import tiny_model
from support.jobs_on_disk import make_job, run_precompute, run_training

GPT2: dict[str, Any] = {
    "model_type": "gpt2",
    "n_ctx": 32,
    "n_positions": 32,
    "n_embd": 64,
    "n_head": 4,
    "n_layer": 2,
    "layer_norm_epsilon": 1e-5,
    "vocab_size": 320,
    "eos_token_id": 2,
}
ROWS = [{"prompt": f"Say {n}", "chosen": f"yes {n}", "rejected": "no"} for n in range(6)]


def add_token(folder: Path, token: str) -> int:
    """Add a token to the tokenizer, as many do, and leave the model as it is."""
    path = folder / "tokenizer.json"
    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.add_special_tokens([AddedToken(token, special=True)])
    tokenizer.save(str(path))
    added: int = tokenizer.token_to_id(token)
    return added


def write(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def job(home: Path, model: Path, rows: list[dict[str, Any]], job_id: int = 1, **spec: Any) -> RunningJob:
    data = {"path": write(home.parent / f"{job_id}.jsonl", rows), "validation": 0.0} | spec.pop("data", {})
    return make_job(home, job_id, model=str(model), data=data, training={"iters": 1}, **spec)


def resized(folder: Path, rows: int, **config: Any) -> Path:
    """A tiny llama whose embedding has so many rows, whatever its config says."""
    tiny_model.build_llama(folder, vocab_size=rows)
    settings = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(settings | config))
    return folder


class TestTokens:
    @pytest.mark.parametrize("loss", ["sigmoid", "cpo"])
    def test_a_token_behind_the_embedding_is_refused_and_nothing_is_cached(
        self, home: Path, tmp_path: Path, loss: str
    ) -> None:
        model = resized(tmp_path / "model", 287)
        assert add_token(model, "<tool>") == 287
        rows = [*ROWS[:3], {**ROWS[3], "chosen": "yes <tool> 3"}, *ROWS[4:]]
        bad = job(home, model, rows, loss={"name": loss})
        expected = (
            f"1.jsonl:4: token '<tool>' (id 287) is not in the model's vocabulary of 287 ({model}); "
            "resize the model or take the token out of the tokenizer"
        )
        for phase in (run_precompute, run_training):
            with pytest.raises(JobError) as caught:
                phase(bad)
            assert str(caught.value) == expected
        assert not list(home.glob("cache/refs/*/segments/*"))
        with pytest.raises(JobError, match="not in the model's vocabulary"):
            explain(bad.home, ExplainInput(spec=bad.spec))

    def test_rows_count_and_not_what_the_config_says(self, home: Path, tmp_path: Path) -> None:
        model = resized(tmp_path / "model", 288)
        config = json.loads((model / "config.json").read_text())
        (model / "config.json").write_text(json.dumps(config | {"vocab_size": 287}))
        assert Tables.read(ModelSource(str(model))).tokens == 288

    def test_a_reference_of_fewer_rows_is_refused_by_name(self, home: Path, tmp_path: Path) -> None:
        policy, reference = resized(tmp_path / "policy", 296), resized(tmp_path / "reference", 287)
        for folder in (policy, reference):
            assert add_token(folder, "<tool>") == 287
        rows = [{**ROWS[0], "rejected": "<tool>"}, *ROWS[1:]]
        bad = job(home, policy, rows, reference={"model": str(reference)})
        with pytest.raises(JobError, match=rf"1.jsonl:1: .* vocabulary of 287 \({reference}\)"):
            run_precompute(bad)
        assert run_precompute(job(home, policy, rows, 2)).ok

    def test_held_out_pairs_of_their_own_are_checked(self, home: Path, tmp_path: Path) -> None:
        model = resized(tmp_path / "model", 287)
        add_token(model, "<tool>")
        other = write(tmp_path / "other.jsonl", [ROWS[0], {**ROWS[1], "chosen": "<tool>"}])
        with pytest.raises(JobError, match=r"held-out other.jsonl:2: token '<tool>'"):
            run_precompute(job(home, model, ROWS, data={"validation": other}))

    def test_tables_of_other_parts_and_a_smaller_head(self, tmp_path: Path) -> None:
        model = tiny_model.build_llama(tmp_path)
        shapes = {
            "language_model.model.embed_tokens.weight": 100,
            "language_model.lm_head.weight": 96,
            "vision_tower.embeddings.weight": 7,
            "language_model.model.layers.0.attention.output.weight": 8,
            "audio_tower.embed_positions.weight": 9,
        }
        mx.save_safetensors(
            str(model / "model.safetensors"), {name: mx.zeros((rows, 4)) for name, rows in shapes.items()}
        )
        tables = Tables.read(ModelSource(str(model)))
        assert (tables.tokens, tables.positions) == (96, None)

    def test_weights_that_are_not_here_are_not_fetched_to_look_at_rows(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A hub model of which config and tokenizer are here."""
        model = tiny_model.build_llama(tmp_path, max_position_embeddings=30)
        weights = (model / "model.safetensors").rename(tmp_path / "elsewhere")
        calls: list[bool] = []

        def download(name: str, **how: Any) -> str:
            calls.append(how.get("local_files_only", False))
            return str(model)

        monkeypatch.setattr("huggingface_hub.snapshot_download", download)
        source = ModelSource("org/model")
        monkeypatch.setattr(ModelSource, "config", lambda self: json.loads((model / "config.json").read_text()))
        assert Tables.read(source, local_only=True) == Tables(None, None, "", 30)
        assert calls == [True]
        weights.rename(model / "model.safetensors")
        assert Tables.read(source, local_only=True).tokens == 320


class TestPositions:
    @pytest.fixture
    def gpt2(self, tmp_path: Path) -> Path:
        model = tiny_model.build(tmp_path / "gpt2", GPT2)
        tiny_model.build_tokenizer(model, None)
        return model

    def test_what_is_longer_than_a_learned_table_is_refused_with_the_setting(self, home: Path, gpt2: Path) -> None:
        rows = [*ROWS, {"prompt": "Say 7", "chosen": "yes " * 40, "rejected": "no"}]
        with pytest.raises(JobError) as caught:
            run_precompute(job(home, gpt2, rows))
        assert str(caught.value) == (
            f"1.jsonl:7 has 166 tokens: data.max_length is 1024 and the model has 32 positions (n_positions, {gpt2}): set it to 32"
        )
        assert not list(home.glob("cache/refs/*/segments/*"))

    def test_the_setting_that_it_names_is_right_to_the_last_position(self, home: Path, gpt2: Path) -> None:
        """32 tokens of which 31 run, on positions 0 to 30: against numbers of mlx-lm's own model, without padding."""
        rows = [{"prompt": "Say 7", "chosen": "yes " * 40, "rejected": "no " * 40}, *ROWS]
        running_job = job(home, gpt2, rows, data={"max_length": 32})
        run_precompute(running_job)
        side = running_job.data.train[0].chosen
        assert len(side) == 32
        model, _ = loading.open_base(running_job.policy)
        logits = model(mx.array(side.ids[None, :-1].astype(np.int32)))[0]
        expected = (logits - mx.logsumexp(logits, axis=-1, keepdims=True))[
            mx.arange(31), mx.array(side.ids[1:].astype(np.int32))
        ]
        [value] = running_job.store.get([running_job.key(side)])
        np.testing.assert_allclose(value, np.array(expected)[side.start - 1 :], atol=1e-4)
        assert run_training(running_job).ok

    def test_padding_reads_no_row_behind_the_table(self, gpt2: Path) -> None:
        model: Any = loading.load(ModelSource(str(gpt2)))
        positions = model.model.wpe(mx.array([30, 31, 32, 4000]))
        assert mx.array_equal(positions[1:], mx.broadcast_to(model.model.wpe.weight[31], (3, 64)))

    def test_beyond_what_a_rope_model_was_made_for_there_is_a_note(self, home: Path, tmp_path: Path) -> None:
        model = tiny_model.build_llama(tmp_path / "model", max_position_embeddings=30)
        rows = [*ROWS, {"prompt": "Say 7", "chosen": "yes " * 9, "rejected": "no"}]
        done = run_precompute(job(home, model, rows))
        assert done.summary.data.notes == [
            (
                f"1 pair of more than 30 tokens, which is what {model} was made for (max_position_embeddings); to cut them "
                "there, set data.max_length to 30"
            )
        ]
        assert run_precompute(job(home, model, ROWS, 2)).summary.data.notes == []
