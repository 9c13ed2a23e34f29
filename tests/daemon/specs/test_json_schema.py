"""The JSON Schema of a spec: right specs pass, wrong ones do not, and an editor finds everything there is to say."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from prefd.daemon.home.layout import Home
from prefd.daemon.specs.catalog import Catalog
from prefd.daemon.specs.json_schema import build_schema
from prefd.daemon.specs.reading import read_specs
from prefd.daemon.specs.spec_error import SpecError
from prefd.daemon.text.parse import parse
from prefd.daemon.worker.plugins import catalog
from support.homes import invoke
from support.pages import blocks
from support.paths import ROOT

SPECS = [
    *(block.text for block in blocks("yaml") if re.search("^model:", block.text, re.MULTILINE) and not block.title),
    *(path.read_text(encoding="utf-8") for path in sorted((ROOT / "contrib").rglob("*.yaml"))),
]
WHOLE = {"model": "m", "data": {"path": "p"}}


@pytest.fixture(scope="module")
def catalog_of_plugins(tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    return Catalog.from_json(catalog(Home(tmp_path_factory.mktemp("home")), lambda message: None))


@pytest.fixture(scope="module")
def validator(catalog_of_plugins: Catalog) -> jsonschema.Draft7Validator:
    schema = build_schema(catalog_of_plugins)
    jsonschema.Draft7Validator.check_schema(schema)
    return jsonschema.Draft7Validator(schema)


def is_flat(value: dict[str, Any]) -> bool:
    return "train_mode" in value


@pytest.mark.parametrize("text", SPECS, ids=lambda text: text.splitlines()[0])
def test_every_spec_that_is_shown_passes(validator: jsonschema.Draft7Validator, text: str) -> None:
    value = parse(text.encode(), ".yaml").value
    if is_flat(value):
        pytest.skip("a config of mlx-lm-lora, which its own words describe")
    assert list(validator.iter_errors(value)) == []


GOOD: list[dict[str, Any]] = [
    {},
    {"training": None, "adapter": None},
    {"loss": {"name": "ipo", "beta": 0.5, "length_normalize": False}},
    {"loss": [{"name": "sigmoid"}, {"name": "sft", "weight": 0.1}]},
    {"data": {"path": "p", "validation": "other.jsonl"}},
    {"training": {"lr_schedule": {"name": "cosine_decay", "warmup": 0.1}}},
    {"training": {"optimizer": "muon", "optimizer_config": {"momentum": 0.9}}},
    {"report_to": []},
    {"sweep": {"loss.name": ["ipo", "sigmoid"]}, "loss": {"beta": 0.1}},
    {"sweep": {"loss": {"beta": [0.1, 0.2]}}, "loss": {"name": "ipo"}},
    {"sweep": {"training.lora.rank": [4, 8], "model": ["a", "b"]}},
    {"sweep": {"loss": [{"name": "ipo"}, {"name": "cpo", "beta": 0.05}]}},
]
BAD: list[dict[str, Any]] = [
    {"modle": "m"},
    {"model": 3},
    {"model": ""},
    {"priority": 5000},
    {"after": [0]},
    {"data": {"path": "p", "max_length": 1}},
    {"data": {"path": "p", "validation": 1.5}},
    {"data": {}},
    {"loss": {"name": "ipp"}},
    {"report_to": ["trackioo"]},
    {"loss": {"beta": 0.1}},
    {"loss": {"name": "ipo", "beta": 0}},
    {"loss": {"name": "ipo", "delta": 1}},
    {"loss": {"name": "ipo", "weight": 1}},
    {"loss": []},
    {"loss": [{"name": "sft", "weight": 0}]},
    {"training": {"fine_tune": "prefix"}},
    {"training": {"learning_rate": "1e-5"}},
    {"training": {"learning_rate": 0}},
    {"training": {"qat": {"bits": 7}}},
    {"training": {"lr_schedule": {"name": "cosine_decay", "warmup": -1}}},
    {"output": {"fuse": "yes"}},
    {"sweep": {}},
    {"sweep": {"name": ["a", "b"]}},
    {"sweep": {"loss.name": ["ipp"]}},
    {"sweep": {"loss.beta": 0.1}},
    {"sweep": {"los.beta": [0.1]}},
]


@pytest.mark.parametrize("change", GOOD, ids=str)
def test_what_prefd_takes_passes(
    validator: jsonschema.Draft7Validator, catalog_of_plugins: Catalog, change: dict[str, Any]
) -> None:
    read_specs(json.dumps(WHOLE | change).encode(), "a.json", catalog_of_plugins)
    assert list(validator.iter_errors(WHOLE | change)) == []


@pytest.mark.parametrize("change", BAD, ids=str)
def test_what_prefd_refuses_for_its_form_does_not_pass(
    validator: jsonschema.Draft7Validator, catalog_of_plugins: Catalog, change: dict[str, Any]
) -> None:
    with pytest.raises(SpecError):
        read_specs(json.dumps(WHOLE | change).encode(), "a.json", catalog_of_plugins)
    assert not validator.is_valid(WHOLE | change)


@pytest.mark.parametrize("missing", ["model", "data"])
def test_what_every_spec_needs_is_required_unless_a_sweep_may_set_it(
    validator: jsonschema.Draft7Validator, missing: str
) -> None:
    value = {name: each for name, each in WHOLE.items() if name != missing}
    assert not validator.is_valid(value)
    assert validator.is_valid(value | {"sweep": {"model": ["a"], "data.path": ["b"]}})


def described(schema: Any, place: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every setting in a schema, by place."""
    if isinstance(schema, dict):
        for name, each in schema.get("properties", {}).items():
            yield f"{place}.{name}", each
        for name, each in schema.items():
            yield from described(each, f"{place}.{name}")
    elif isinstance(schema, list):
        for position, each in enumerate(schema):
            yield from described(each, f"{place}[{position}]")


def test_an_editor_can_say_of_every_setting_what_it_is_and_its_default(catalog_of_plugins: Catalog) -> None:
    schema = build_schema(catalog_of_plugins)
    blocks = {"properties": {k: v for k, v in schema["properties"].items() if k != "sweep"}, "$defs": schema["$defs"]}
    settings = dict(described(blocks))
    losses = {place for place in settings if "LossSpec.anyOf" in place}
    for place, each in settings.items():
        if place not in losses:
            assert each["description"], place
    required = {
        ".model",
        ".data",
        ".$defs.DataSpec.path",
        ".$defs.SourceSpec.path",
        ".$defs.ScheduleSpec.name",
    }
    assert {place for place, each in settings.items() if "default" not in each and place not in losses} == required
    assert schema["properties"]["model"]["examples"]
    branches = schema["$defs"]["LossSpec"]["anyOf"]
    assert [each["properties"]["name"]["const"] for each in branches] == sorted(catalog_of_plugins.losses)
    assert all(each["description"] for each in branches)
    ipo = next(each for each in branches if each["title"] == "ipo")
    beta = ipo["properties"]["beta"]
    assert "the margin that is aimed at" in beta.pop("description")
    assert beta == {"title": "beta", "type": "number", "default": 0.1, "exclusiveMinimum": 0}


def test_the_command_prints_it_with_the_losses_of_the_home(home: Path) -> None:
    ready_home = Home(home)
    ready_home.create()
    (home / "own.py").write_text(
        "from prefd.plugins.hookspecs import hookimpl\n\n\ndef mine(x, *, gamma: float = 2.0):\n    '''Mine.'''\n\n\n"
        "@hookimpl\ndef register_losses(register):\n    register('mine', mine)\n"
    )
    ready_home.config.write_text("plugins = ['own.py']\n")
    result = invoke(ready_home, "schema")
    assert result.exit_code == 0, result.output
    validator = jsonschema.Draft7Validator(json.loads(result.stdout))
    assert validator.is_valid(WHOLE | {"loss": {"name": "mine", "gamma": 1.0}})
    assert not validator.is_valid(WHOLE | {"loss": {"name": "mine", "beta": 1.0}})


def test_a_spec_may_name_its_schema_for_the_editor() -> None:
    line = "# yaml-language-server: $schema=prefd.schema.json\n"
    assert read_specs((line + json.dumps(WHOLE)).encode(), "a.yaml").spec.model
    toml = '#:schema prefd.schema.json\nmodel = "m"\ndata = {path = "p"}\n'
    assert read_specs(toml.encode(), "a.toml").spec.model


def test_an_infinite_default_is_no_default_in_json(catalog_of_plugins: Catalog) -> None:
    unlimited = replace(
        catalog_of_plugins.losses["ipo"], params={"limit": {"type": "number", "default": math.inf, "maximum": math.inf}}
    )
    schema = build_schema(Catalog({"ipo": unlimited}, []))
    text = json.dumps(schema, allow_nan=False)
    assert '"limit"' in text
