"""Who a reference is: by content and settings, not by path, shards or versions in full."""

from __future__ import annotations

import hashlib
import json
import os
import struct
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest

from prefd.cache.fingerprint import BadWeights, ReferenceFingerprint, digest_weights, find_differences


@pytest.fixture
def weights(tmp_path: Path) -> dict[str, mx.array]:
    return {f"layer.{n}.weight": mx.random.normal((4, n + 1), key=mx.random.key(n)) for n in range(4)}


def save(path: Path, tensors: dict[str, mx.array], **metadata: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    mx.save_safetensors(str(path), tensors, metadata=metadata)
    return path


def test_shards_order_path_and_metadata_do_not_matter(tmp_path: Path, weights: dict[str, mx.array]) -> None:
    whole = save(tmp_path / "a" / "model.safetensors", weights)
    names = sorted(weights)
    one = save(tmp_path / "b" / "model-1.safetensors", {name: weights[name] for name in names[:1]}, format="mlx")
    rest = save(tmp_path / "b" / "model-2.safetensors", {name: weights[name] for name in reversed(names[1:])})
    assert digest_weights([whole]) == digest_weights([rest, one])


def test_a_bit_a_name_a_type_or_a_shape_matters(tmp_path: Path, weights: dict[str, mx.array]) -> None:
    name = "layer.2.weight"
    value = weights[name]
    variants = [
        weights,
        weights | {name: value + 1e-6},
        weights | {name: value.astype(mx.float16)},
        weights | {name: value.reshape(-1)},
        {(other if other != name else "renamed"): tensor for other, tensor in weights.items()},
        {other: tensor for other, tensor in weights.items() if other != name},
    ]
    digests = {digest_weights([save(tmp_path / f"{n}.safetensors", each)]) for n, each in enumerate(variants)}
    assert len(digests) == len(variants)


def test_digests_are_remembered_until_the_file_changes(tmp_path: Path, weights: dict[str, mx.array]) -> None:
    path, memo = save(tmp_path / "model.safetensors", weights), tmp_path / "memo"
    first = digest_weights([path], memo)
    (memo_file,) = memo.iterdir()
    memo_file.write_text(json.dumps({"layer": "remembered"}))
    assert digest_weights([path], memo) != first  # it was read, not computed
    os.utime(path, ns=(1, 1))
    assert digest_weights([path], memo) == first
    memo_file.write_text("{ damaged")
    assert digest_weights([path], memo) == first


@pytest.mark.parametrize("damage", ["empty", "text", "cut header", "cut data", "long header"])
def test_a_file_that_is_not_whole_is_named(tmp_path: Path, weights: dict[str, mx.array], damage: str) -> None:
    path = save(tmp_path / "model.safetensors", weights)
    data = path.read_bytes()
    path.write_bytes(
        {
            "empty": b"",
            "text": b"<html>404 not found, the page is not here</html>",
            "cut header": data[:20],
            "cut data": data[:-1],
            "long header": struct.pack("<Q", 2**60) + data[8:],
        }[damage]
    )
    with pytest.raises(BadWeights, match=r"model\.safetensors is not a whole safetensors file"):
        digest_weights([path])


def test_key_is_the_documented_hash() -> None:
    fingerprint = ReferenceFingerprint({"weights": "w"})
    ids = np.array([5, 6, 70000], dtype=np.uint32)
    expected = hashlib.sha256(
        b"prefd-key/1" + bytes.fromhex(fingerprint.sha256) + struct.pack("<II", 3, 2) + struct.pack("<3I", 5, 6, 70000)
    ).digest()
    assert fingerprint.key(ids, 2) == expected
    others = {fingerprint.key(ids, 1), fingerprint.key(ids[:2], 2), ReferenceFingerprint({}).key(ids, 2), expected}
    assert len(others) == 4


def test_provenance_decides_nothing_and_differences_are_named() -> None:
    a = ReferenceFingerprint({"weights": "w", "mlx": "0.32"}, {"device": "cpu"})
    b = ReferenceFingerprint({"mlx": "0.32", "weights": "w"}, {"device": "gpu"})
    assert a.sha256 == b.sha256
    assert find_differences(a.identity, {"weights": "x", "mlx": "0.32", "adapter": "y"}) == ["adapter", "weights"]
