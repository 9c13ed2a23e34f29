"""Prompts that a policy answers while it trains: held-out ones, or a file's, as the job's rows are tokenized."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from prefd.daemon.specs.data_spec import DataSpec
from prefd.daemon.specs.samples_spec import SamplesSpec
from prefd.daemon.worker.data.prompts import Settings
from prefd.daemon.worker.data.rows import DataError
from prefd.daemon.worker.data.sample_prompts import SamplePrompt, find_prompts
from prefd.daemon.worker.data.tokens import Encoder, Example
from prefd.daemon.worker.models import loading
from prefd.daemon.worker.models.source import ModelSource
from prefd.plugins.types import Pair

DATA = DataSpec(path="./pairs.jsonl")


@pytest.fixture(scope="module")
def tokenizer(tiny_model: Path) -> Any:
    return loading.tokenizer(ModelSource(str(tiny_model)))


def encode(tokenizer: Any, *prompts: str) -> list[Example]:
    encoder = Encoder(tokenizer, 1024, Settings.from_spec(DATA))
    return [encoder.encode(Pair(prompt, f"yes {row}", "no"), row) for row, prompt in enumerate(prompts, 1)]


def find(tokenizer: Any, prompts: Any, *held_out: Example) -> list[SamplePrompt]:
    return find_prompts(SamplesSpec(prompts=prompts), DATA, held_out, tokenizer)


def test_each_held_out_prompt_comes_once_in_the_order_of_the_rows(tokenizer: Any) -> None:
    held_out = encode(tokenizer, "Two plus two?", "Hello.", "Two plus two?", "", "More.")
    prompts = find(tokenizer, 3, *held_out)
    assert [each.place for each in prompts] == ["row 1", "row 2", "row 5"]
    assert prompts[0].tokens == tuple(held_out[0].chosen.prompt.tolist())
    assert "Two plus two?" in prompts[0].text
    assert len(find(tokenizer, 1, *held_out)) == 1


def test_a_files_prompts_have_the_tokens_that_the_jobs_own_have(tokenizer: Any, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("Two plus two?\n\nHello.\n", encoding="utf-8-sig")
    (tmp_path / "b.jsonl").write_text(
        '{"prompt": "Two plus two?", "chosen": "4"}\n{"prompt": [{"role": "user", "content": "Hello."}]}\n'
    )
    own = [tuple(each.chosen.prompt.tolist()) for each in encode(tokenizer, "Two plus two?", "Hello.")]
    for name, places in (("a.txt", ["a.txt:1", "a.txt:3"]), ("b.jsonl", ["b.jsonl:1", "b.jsonl:2"])):
        prompts = find(tokenizer, str(tmp_path / name))
        assert [each.tokens for each in prompts] == own
        assert [each.place for each in prompts] == places


def test_prompts_that_cannot_be_used_are_refused_with_place_and_remedy(
    tokenizer: Any, tmp_path: Path, subtests: pytest.Subtests
) -> None:
    cases: dict[str, tuple[bytes, str]] = {
        "empty.txt": (b"\n \n", "has no prompt; write one prompt a line"),
        "latin.txt": ("é".encode("latin-1"), "is no text in UTF-8"),
        "many.txt": (b"a\n" * 257, "has 257 prompts, and each is answered at every sampling: leave at most 256 in it"),
        "eos.txt": (b"ok\na <|im_end|> b\n", "eos.txt:2: "),
        "rows.jsonl": (b'{"prompt": "a"}\n{"question": "b"}\n', "rows.jsonl:2 has no column prompt, but question"),
        "number.jsonl": (b'{"prompt": "a"}\n{"prompt": 7}\n', "number.jsonl:2: prompt is '7'; it must be a text"),
        "broken.jsonl": (b'{"prompt": "a"}\n{"prompt"\n', "broken.jsonl:2: not JSON"),
        "prompts.md": (b"hello", "cannot read '.md'"),
    }
    for name, (content, message) in cases.items():
        with subtests.test(name=name):
            (tmp_path / name).write_bytes(content)
            with pytest.raises(DataError, match=r"^eval_samples\.prompts: ") as refused:
                find(tokenizer, str(tmp_path / name))
            assert message in str(refused.value)
    with subtests.test("a file that is gone"), pytest.raises(DataError, match="No such file"):
        find(tokenizer, str(tmp_path / "gone.txt"))


def test_rows_without_a_prompt_are_refused(tokenizer: Any) -> None:
    with pytest.raises(DataError, match="no held-out row has a prompt, so there is nothing to answer; name a file"):
        find(tokenizer, 2, *encode(tokenizer, "", ""))
    with pytest.raises(DataError, match="no row is held out"):
        find(tokenizer, 2)
