"""Previews: the very tokens of the job, decoded whole, and which pairs of it are shown."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mlx_lm.utils import load_tokenizer
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from prefd.daemon.home.layout import Home
from prefd.daemon.specs.job_spec import JobSpec
from prefd.daemon.worker import preview as worker
from prefd.daemon.worker.data.decoding import decode_tokens
from prefd.daemon.worker.data.prepare import DataError
from prefd.daemon.worker.data.tokens import Completion, Example
from prefd.daemon.worker.models import loading
from prefd.daemon.worker_tasks.answers import DataCheck
from prefd.daemon.worker_tasks.inputs import DataCheckInput, PreviewInput
from prefd.daemon.worker_tasks.previews import LengthSpan, Preview
from support import tiny_model as tiny
from support.jobs_on_disk import make_job
from support.sample_pairs import PAIRS

QUESTION = "<|im_start|>user\nWhat is two plus two?<|im_end|>\n<|im_start|>assistant\n"


def show_preview(home: Path, model: Path, pairs: Path, data: dict[str, Any] | None = None, **request: Any) -> Preview:
    spec = {"model": str(model), "data": {"path": str(pairs)} | (data or {}), "training": {"iters": 2}}
    return worker.preview(Home(home), PreviewInput(spec=JobSpec.model_validate(spec), **request))


def write(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("tokenizer")
    tiny.build_tokenizer(folder)
    return load_tokenizer(folder)


class TestTokens:
    def test_a_pair_is_the_text_of_the_ids_that_are_trained_on(
        self, home: Path, tiny_model: Path, pairs_file: Path
    ) -> None:
        (pair,) = show_preview(home, tiny_model, pairs_file, count=1).pairs
        assert pair.prompt.text == QUESTION
        assert pair.chosen.text == "Four.<|im_end|>"
        assert pair.rejected.text == "It could be many things, who knows.<|im_end|>"
        assert pair.remarks == []

    def test_the_ids_are_the_jobs_own(self, home: Path, tiny_model: Path, pairs_file: Path) -> None:
        job = make_job(home, model=str(tiny_model), data={"path": str(pairs_file), "max_length": 60})
        examples = {example.row: example for example in job.examples}
        for pair in show_preview(home, tiny_model, pairs_file, {"max_length": 60}, count=99).pairs:
            example = examples.pop(int(pair.place.removeprefix("pairs.jsonl:")))
            assert [*pair.prompt.ids, *pair.chosen.ids] == example.chosen.ids.tolist()
            assert [*pair.prompt.ids, *pair.rejected.ids] == example.rejected.ids.tolist()
            assert (pair.chosen.cut, pair.rejected.cut) == (example.chosen.cut, example.rejected.cut)
        assert not examples

    def test_special_tokens_are_told_from_text(self, home: Path, tiny_model: Path, pairs_file: Path) -> None:
        (pair,) = show_preview(home, tiny_model, pairs_file, count=1).pairs
        marked = [text for text, special in zip(pair.prompt.texts, pair.prompt.special) if special]
        assert marked == ["<|im_start|>", "<|im_end|>", "<|im_start|>"]
        assert pair.chosen.special == [False] * (len(pair.chosen.ids) - 1) + [True]

    def test_all_of_an_answer_counts_and_nothing_of_a_prompt(
        self, home: Path, tiny_model: Path, pairs_file: Path
    ) -> None:
        (pair,) = show_preview(home, tiny_model, pairs_file, count=1).pairs
        assert not any(pair.prompt.counted)
        assert all(pair.chosen.counted)
        assert len(pair.chosen.counted) == len(pair.chosen.ids)

    def test_a_cut_answer_says_what_it_lost(self, home: Path, tiny_model: Path, tmp_path: Path) -> None:
        rows = write(tmp_path / "a.jsonl", {"prompt": "q", "chosen": "abc" * 30, "rejected": "d"})
        whole, cut = (
            show_preview(home, tiny_model, rows, {"max_length": limit}, count=1).pairs[0] for limit in (512, 60)
        )
        assert cut.chosen.cut == len(whole.chosen.ids) - len(cut.chosen.ids) > 0
        assert len(cut.prompt.ids) + len(cut.chosen.ids) == 60
        assert not any(cut.chosen.special)
        assert (cut.rejected.cut, whole.chosen.cut) == (0, 0)
        assert cut.remarks[0].startswith("chosen is cut at max_length 60")

    def test_without_a_template_an_answer_may_be_set_apart(self, home: Path, tmp_path: Path) -> None:
        model = tiny.build_llama(tmp_path / "plain")
        tiny.build_tokenizer(model, None)
        rows = write(tmp_path / "a.jsonl", {"prompt": "oth", "chosen": "er", "rejected": " x"})
        preview = show_preview(home, model, rows)
        (pair,) = preview.pairs
        assert not preview.chat_template
        assert (pair.prompt.text, pair.chosen.text, pair.rejected.text) == ("oth", "er<|im_end|>", " x<|im_end|>")
        assert pair.remarks[0].startswith("chosen is tokenized apart from the prompt")


class TestPieces:
    def test_a_character_of_several_tokens_is_the_last_ones(self, tokenizer: Any) -> None:
        ids = tokenizer.encode("a é", add_special_tokens=False)
        assert decode_tokens(tokenizer, ids)[-2:] == ["", "é"]

    def test_half_a_character_at_the_end_is_not_hidden(self, tokenizer: Any) -> None:
        ids = tokenizer.encode("aé", add_special_tokens=False)[:-1]
        assert decode_tokens(tokenizer, ids) == ["a", "�"]

    @settings(deadline=None, max_examples=100)
    @given(st.lists(st.one_of(st.text(max_size=8), st.sampled_from(tiny.SPECIAL)), max_size=6).map("".join))
    def test_pieces_make_the_text_that_the_ids_are(self, tokenizer: Any, text: str) -> None:
        ids = tokenizer.encode(text, add_special_tokens=False)
        texts = decode_tokens(tokenizer, ids)
        assert len(texts) == len(ids)
        assert "".join(texts) == text

    def test_spaces_of_a_tokenizer_that_drops_the_first(self, tmp_path: Path) -> None:
        """A word's space is in its token (▁), and decoding drops the one that a text begins with."""
        dropping = Tokenizer(models.BPE())
        dropping.pre_tokenizer, dropping.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
        dropping.train_from_iterator(
            ["two of them in the other one"], trainers.BpeTrainer(special_tokens=["<s>", "</s>"])
        )
        dropping.save(str(tmp_path / "tokenizer.json"))
        settings = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "</s>", "bos_token": "<s>"}
        (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
        tokenizer = load_tokenizer(tmp_path)
        ids = tokenizer.encode("two of them", add_special_tokens=False)
        assert decode_tokens(tokenizer, ids) == ["two", " of", " them"]
        assert decode_tokens(tokenizer, [0, *ids, 1])[-1] == "</s>"
        assert "".join(decode_tokens(tokenizer, [0, *ids, 1])) == tokenizer.decode([0, *ids, 1])

    @pytest.mark.smol
    def test_on_a_real_tokenizer(self, smol_model: Path) -> None:
        tokenizer = load_tokenizer(smol_model)
        text = "<|im_start|>user\n  Grüße, 日本 🙂\tand more<|im_end|>"
        ids = tokenizer.encode(text, add_special_tokens=False)
        assert "".join(decode_tokens(tokenizer, ids)) == text


class TestWhichPairs:
    def test_a_row_is_named_by_its_number_or_its_place(self) -> None:
        side = Completion(np.array([1, 2], np.uint32), 1)
        example = Example(9, side, side, "pairs.jsonl:12")
        assert all(worker.is_named(example, name) for name in ("9", "row 9", "pairs.jsonl:12"))
        assert not any(worker.is_named(example, name) for name in ("12", "pairs.jsonl:9", ""))

    def places(self, preview: Preview) -> list[str]:
        return [pair.place for pair in preview.pairs]

    def test_the_first_rows_whether_trained_on_or_held_out(
        self, home: Path, tiny_model: Path, pairs_file: Path
    ) -> None:
        preview = show_preview(home, tiny_model, pairs_file, {"validation": 0.4}, count=99)
        assert self.places(preview) == [f"pairs.jsonl:{number}" for number in range(1, 9)]
        uses = [pair.use for pair in preview.pairs]
        assert (uses.count("trained on"), uses.count("held out")) == (5, 3)
        assert (preview.data.used, preview.data.held_out) == (5, 3)

    def test_pairs_of_a_held_out_source_come_last(self, home: Path, tiny_model: Path, tmp_path: Path) -> None:
        train, others = write(tmp_path / "a.jsonl", *PAIRS[:2]), write(tmp_path / "b.jsonl", *PAIRS[2:4])
        shown = show_preview(home, tiny_model, train, {"validation": str(others)}, count=99).pairs
        assert [(pair.place, pair.use) for pair in shown] == [
            ("a.jsonl:1", "trained on"),
            ("a.jsonl:2", "trained on"),
            ("b.jsonl:1", "held out"),
            ("b.jsonl:2", "held out"),
        ]
        assert shown[2].chosen.text == "Yes, it is a star.<|im_end|>"

    def test_named_rows_in_the_order_they_are_named(self, home: Path, tiny_model: Path, pairs_file: Path) -> None:
        preview = show_preview(home, tiny_model, pairs_file, named=["7", "row 2", "pairs.jsonl:3"])
        assert self.places(preview) == ["pairs.jsonl:7", "pairs.jsonl:2", "pairs.jsonl:3"]
        assert preview.missing == {}

    def test_a_row_that_is_no_pair_says_why(self, home: Path, tiny_model: Path, tmp_path: Path) -> None:
        rows = write(tmp_path / "a.jsonl", PAIRS[0], PAIRS[1] | {"chosen": ""})
        preview = show_preview(home, tiny_model, rows, named=["2", "a.jsonl:2", "row 3"])
        assert preview.pairs == []
        assert preview.missing == {
            "2": "row 2 (a.jsonl:2) is not used: empty completion",
            "a.jsonl:2": "row 2 (a.jsonl:2) is not used: empty completion",
            "row 3": f"there is no row 3: {rows} has 2 rows, counted from 1",
        }

    def test_a_row_that_a_weight_leaves_out_says_so(self, home: Path, tiny_model: Path, pairs_file: Path) -> None:
        data = {"path": [{"path": str(pairs_file), "weight": 0.5}]}
        preview = show_preview(home, tiny_model, pairs_file, data, named=list("12345678"))
        assert len(preview.pairs) == len(preview.missing) == 4
        for name, reason in preview.missing.items():
            assert reason == f"row {name} (pairs.jsonl:{name}) is not used: its dataset has a weight below 1"

    def test_the_worst_first(self, home: Path, tiny_model: Path, tmp_path: Path) -> None:
        alike = {"prompt": "q", "chosen": "one " * 20 + "a", "rejected": "one " * 20 + "b"}
        cut = {"prompt": "q", "chosen": "word" * 200, "rejected": "d"}
        rows = write(tmp_path / "a.jsonl", PAIRS[0], alike, PAIRS[1], cut)
        preview = show_preview(home, tiny_model, rows, {"max_length": 200}, count=2, worst=True)
        assert self.places(preview) == ["a.jsonl:4", "a.jsonl:2"]

    def test_a_job_that_trains_nothing_scores_its_pairs(self, home: Path, tiny_model: Path, pairs_file: Path) -> None:
        spec = {"model": str(tiny_model), "data": {"path": str(pairs_file), "validation": 0.0}}
        (pair,) = worker.preview(Home(home), PreviewInput(spec=JobSpec.model_validate(spec), count=1)).pairs
        assert pair.use == "scored"


def test_what_is_said_of_all_pairs(home: Path, tiny_model: Path, pairs_file: Path) -> None:
    preview = show_preview(home, tiny_model, pairs_file, {"max_length": 90})
    job = make_job(home, model=str(tiny_model), data={"path": str(pairs_file), "max_length": 90})
    assert preview.data == job.data.report.summarize()
    assert preview.ends == {"<|im_end|>": 2}
    assert (preview.model, preview.chat_template, preview.max_length) == (str(tiny_model), True, 90)
    starts = sorted(example.chosen.start for example in job.examples)
    median = (starts[3] + starts[4]) / 2
    assert preview.tokens["prompt"] == LengthSpan(least=starts[0], median=median, most=starts[-1])
    assert preview.tokens["chosen"].least == min(len(each.chosen) - each.chosen.start for each in job.examples)


def test_no_weight_is_read_and_nothing_is_made(
    home: Path, tmp_path: Path, pairs_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their headers are: they say how many tokens the model has."""
    model = tiny.build_llama(tmp_path / "model")
    for name in ("load", "load_lazily", "open_base"):
        monkeypatch.setattr(loading, name, None)
    monkeypatch.setattr(mx, "load", None)
    assert len(show_preview(home, model, pairs_file).pairs) == 3
    assert not home.exists()


def test_data_that_a_run_refuses_is_refused(home: Path, tiny_model: Path, pairs_file: Path) -> None:
    with pytest.raises(DataError, match="none of its 8 rows can be used: 8 × nothing left after truncation"):
        show_preview(home, tiny_model, pairs_file, {"max_length": 2})


class TestCheck:
    def checked(self, home: Path, *specs: dict[str, Any]) -> Sequence[DataCheck]:
        return worker.check_data(
            Home(home), DataCheckInput(specs=[JobSpec.model_validate(each) for each in specs])
        ).checks

    def test_jobs_with_the_same_tokens_read_their_data_once(
        self, home: Path, tiny_model: Path, pairs_file: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        read = []
        real = worker.SpecifiedJob.data.func
        monkeypatch.setattr(worker.SpecifiedJob.data, "func", lambda job: read.append(job) or real(job))
        base = {"model": str(tiny_model), "data": {"path": str(pairs_file)}, "training": {"iters": 2}}
        shorter = base | {"data": {"path": str(pairs_file), "max_length": 60}}
        answers = self.checked(home, base, base | {"training": {"iters": 3}}, shorter)
        assert [each.data and each.data.truncated for each in answers] == [0, 0, 5]
        assert len(read) == 2

    def test_what_the_training_cannot_have_of_the_data_is_an_error(
        self, home: Path, tiny_model: Path, pairs_file: Path
    ) -> None:
        spec = {
            "model": str(tiny_model),
            "data": {"path": str(write(pairs_file.with_name("one.jsonl"), PAIRS[0]))},
            "training": {"iters": 2, "best_checkpoint": {"metric": "eval_loss"}},
        }
        (answer,) = self.checked(home, spec)
        assert "1 pairs share one prompt, so none is held out" in str(answer.error)

    @pytest.mark.parametrize(
        ("key", "message"),
        [("qproj", "; did you mean 'self_attn.q_proj'?"), ("self_attn.q_prj", "; it has mlp.down_proj, ")],
    )
    def test_a_module_that_the_model_has_not_is_an_error(
        self, home: Path, tiny_model: Path, pairs_file: Path, key: str, message: str
    ) -> None:
        spec = {"model": str(tiny_model), "data": {"path": str(pairs_file)}, "training": {"lora": {"keys": [key]}}}
        right = spec | {"training": {"lora": {"keys": ["q_proj"]}}}
        wrong, fine = self.checked(home, spec, right)
        assert f"training.lora.keys: no module {key!r} in the layers that are trained of " in str(wrong.error)
        assert message in str(wrong.error)
        assert fine.error is None

    def test_modules_of_a_model_whose_weights_are_not_here_are_told_as_not_looked_at(
        self, home: Path, tiny_model: Path, pairs_file: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(home.parent / "hub"))
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
        name = tiny.keep_as_hub_model(home.parent / "hub", tiny_model)
        spec = {"model": name, "data": {"path": str(pairs_file)}, "training": {"lora": {"keys": ["qproj"]}}}
        lines, without = self.checked(home, spec, spec | {"training": {}})
        assert lines.unchecked == "training.lora.keys: the weights of org/tiny are not on this machine yet"
        assert lines.data is not None
        assert without.unchecked is None

    def test_modules_are_looked_at_though_the_data_is_out_of_reach(
        self, home: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
        data = {"path": "no-such-org/no-such-data"}
        (line,) = self.checked(
            home, {"model": str(tiny_model), "data": data, "training": {"lora": {"keys": ["qproj"]}}}
        )
        assert "no module 'qproj' in the layers that are trained" in str(line.error)

    def test_a_hub_that_cannot_be_reached_is_no_error(
        self, home: Path, tiny_model: Path, pairs_file: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
        data, model = self.checked(
            home,
            {"model": str(tiny_model), "data": {"path": "no-such-org/no-such-data"}},
            {"model": "no-such-org/no-such-model", "data": {"path": str(pairs_file)}},
        )
        assert data.model_fields_set == model.model_fields_set == {"not_reached"}
        assert "no-such-org/no-such-data" in str(data.not_reached)
        assert "no-such-org/no-such-model" in str(model.not_reached)

    def test_rows_are_read_where_only_the_tokenizer_is_out_of_reach(
        self, home: Path, pairs_file: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
        data = {"path": str(pairs_file), "chosen_feature": "best"}
        (answer,) = self.checked(home, {"model": "no-such-org/no-such-model", "data": data})
        assert "has no column 'best'" in str(answer.error)
