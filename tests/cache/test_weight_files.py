"""What a file of weights has is known from its header, and a file that is none is told by how it begins or ends."""

from __future__ import annotations

from pathlib import Path

import mlx.core as mx
import pytest

from prefd.cache.weight_files import BadHeader, read_header


def test_the_header_says_what_is_where(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    mx.save_safetensors(str(path), {"a": mx.zeros((2, 3))}, {"format": "mlx"})
    header = read_header(path)
    assert {name: (each["dtype"], each["shape"]) for name, each in header.tensors.items()} == {"a": ("F32", [2, 3])}
    begin, end = header.tensors["a"]["data_offsets"]
    assert header.begin + end == header.size == path.stat().st_size
    assert end - begin == 24


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"", "begins with b''"),
        (b"\x02\x00\x00\x00\x00\x00\x00\x00[]", "its header cannot be read"),
        (b"\x02\x00\x00\x00\x00\x00\x00\x80{}", "is no safetensors file"),
    ],
)
def test_what_is_no_file_of_weights_is_told_so(tmp_path: Path, content: bytes, fault: str) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    with pytest.raises(BadHeader, match=fault):
        read_header(path)


def test_a_file_that_cannot_be_looked_at_is_no_bad_header(tmp_path: Path) -> None:
    """The disk, or a cloud that has taken it away, is to blame: its caller tells these apart by their numbers."""
    with pytest.raises(FileNotFoundError):
        read_header(tmp_path / "none.safetensors")
