"""Much-used datasets, by the columns they have on the hub: each row gives the pair that is meant, or is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT

from prefd.daemon.spec import DataSpec
from prefd.daemon.worker.data import load_pairs
from prefd.daemon.worker.rows import DataError
from prefd.plugins import formats
from prefd.plugins.formats.prompt import answer_text
from prefd.plugins.types import Pair, RowFormat

SHARED = ROOT.parent / "shared" / "datasets" / "shapes.jsonl"
FORMATS: dict[str, RowFormat] = {}
formats.register_formats(FORMATS.__setitem__)


def shapes() -> list[dict[str, Any]]:
    return [json.loads(line) for line in SHARED.read_text().splitlines()] if SHARED.is_file() else []


def as_messages(pair: Pair) -> list[Any]:
    return [{"role": "user", "content": pair.prompt}] if isinstance(pair.prompt, str) else list(pair.prompt)


@pytest.mark.skipif(not SHARED.is_file(), reason="the shared list of shapes is not here")
@pytest.mark.parametrize("shape", shapes(), ids=lambda shape: shape["name"])
def test_every_shape_of_the_shared_list_is_read_as_it_expects(shape: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in shape["rows"]))
    if isinstance(shape["expect"], str):
        says = {"unpaired": "unpaired", "refused": "prefd trains on text"}[shape["expect"]]
        with pytest.raises(DataError, match=says):
            load_pairs(DataSpec(path=str(path)), FORMATS)
        return
    found = load_pairs(DataSpec(path=str(path)), FORMATS)
    assert [number for number, _ in found.pairs] == [1, 2, 3]
    for (_, pair), expected in zip(found.pairs, shape["expect"]):
        assert (answer_text(pair.chosen), answer_text(pair.rejected)) == (expected["chosen"], expected["rejected"])
        if "prompt" in expected:
            assert as_messages(pair) == expected["prompt"]
        else:
            assert expected["prompt_contains"] in str(pair.prompt)
