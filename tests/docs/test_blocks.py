"""What pages show is what prefd takes: specs, settings, JSON, and lists of what there is."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import httpx
import pytest

from prefd.daemon.errors import Exit
from prefd.daemon.home.layout import Home
from prefd.daemon.home.settings import Config
from prefd.daemon.jobs.states import ENDED, STATES, TABLE
from prefd.daemon.jobs.table import JobTable
from prefd.daemon.specs.mlx_lm_lora.flat_config import translate
from prefd.daemon.specs.reading import read_spec, read_specs
from prefd.daemon.text.foreign_settings import CALLED, EXPLAINED
from prefd.daemon.text.parse import parse
from prefd.daemon.text.unknown_losses import IN_TRL_PLUGIN
from prefd.plugins import hookspecs
from prefd.plugins.manager import load_plugins
from prefd.plugins.types import TRAINERS_METRICS
from support.control_server import serving
from support.pages import DOCS, Block, blocks, spans
from support.paths import ROOT
from support.sockets import find_socket

TRL = (
    *("model_init_kwargs", "trust_remote_code", "router_aux_loss_coef", "disable_dropout", "max_length"),
    *("truncation_mode", "padding_free", "pad_to_multiple_of", "precompute_ref_log_probs", "precompute_ref_batch_size"),
    *("loss_type", "loss_weights", "ld_alpha", "f_divergence_type", "label_smoothing", "beta", "use_weighting"),
    *("discopop_tau", "activation_offloading", "sync_ref_model", "ref_model_mixup_alpha", "ref_model_sync_steps"),
    "dataset_num_proc",
)
"""The settings that TRL 1.16's DPOConfig adds to TrainingArguments."""
PLUGINS = {"bradley_terry", "squared", *IN_TRL_PLUGIN}
"""Losses that pages speak of and prefd does not bring."""


def whole(block: Block) -> str:
    """The block as a spec, with a model and data where it shows only a part of one."""
    value = parse(block.text.encode(), ".yaml").value
    missing = {"model": "model: m\n", "data": "data: {path: p}\n"}
    return "".join(line for name, line in missing.items() if name not in value) + block.text


def page(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def section(name: str, heading: str) -> str:
    """What stands under a heading of the second level."""
    return page(name).partition(f"\n## {heading}\n")[2].partition("\n## ")[0]


@pytest.mark.parametrize("block", blocks("yaml"), ids=str)
def test_every_spec_is_one(block: Block) -> None:
    specs = read_specs(whole(block).encode(), "page.yaml").specs
    names = load_plugins().losses.keys() | PLUGINS
    assert {loss.name for spec in specs for loss in spec.losses.values()} <= names


@pytest.mark.parametrize("text", sorted({text for _, text in spans() if re.match(r"(loss|output|data): [\[{]", text)}))
def test_every_setting_in_a_sentence_is_one(text: str) -> None:
    block = Block("", 0, "yaml", "", text.replace("{name: …", "{name: sigmoid").replace("…", "1") + "\n")
    extra = "training: {epochs: 1}\n"
    assert read_spec((whole(block) + extra).encode(), "page.yaml").training is not None


@pytest.mark.parametrize("block", blocks("toml"), ids=str)
def test_every_config_is_one(block: Block, home: Path) -> None:
    if block.title == "pyproject.toml":
        assert tomllib.loads(block.text)["project"]["entry-points"]["prefd"]
        return
    ready_home = Home(home)
    ready_home.create()
    ready_home.config.write_text(block.text)
    assert Config.load(ready_home) != Config()


@pytest.mark.parametrize("block", blocks("json"), ids=str)
def test_every_json_is_one(block: Block) -> None:
    assert json.loads(block.text)


def test_the_error_of_the_api_is_what_it_answers(home: Path) -> None:
    ready_home = Home(home)
    ready_home.create()
    JobTable.open(ready_home.database).close()
    with serving(ready_home), httpx.Client(transport=httpx.HTTPTransport(uds=find_socket(ready_home))) as client:
        answer = client.get("http://prefd/v1/jobs/7")
    (block,) = blocks("json", "docs/api.md")
    assert answer.status_code == 404
    assert answer.json() == json.loads(block.text)


def test_the_full_spec_shows_every_key() -> None:
    text = blocks("yaml", "docs/spec.md")[0].text

    def shown(model: object) -> None:
        for name in type(model).model_fields:  # type: ignore[attr-defined]
            if name == "live":  # of no spec file
                continue
            if name == "iters":
                assert "or iters:" in text
                continue
            assert re.search(rf"\b{name}:", text), name
            value = getattr(model, name)
            if hasattr(type(value), "model_fields"):
                shown(value)

    shown(read_spec(text.encode(), "page.yaml"))


@pytest.mark.parametrize("name", ["README.md", "docs/losses.md"])
def test_losses_are_the_built_in_ones(name: str) -> None:
    built_in = next(plugin for plugin in load_plugins().plugins if plugin.name == "prefd:losses")
    rows = re.findall(r"^\| `(\w+)` \| .*? \| (yes|no) \|", page(name), flags=re.MULTILINE)
    assert sorted(loss for loss, _ in rows) == built_in.losses
    for loss, reference in rows:
        assert load_plugins().losses[loss].schema.needs_reference is (reference == "yes")


def test_labels_are_smoothed_in_the_losses_that_the_page_names() -> None:
    sentence = re.search(r"`label_smoothing` \(in (.*?)\)", page("docs/losses.md"))
    assert sentence is not None
    own = next(plugin for plugin in load_plugins().plugins if plugin.name == "prefd:losses").losses
    losses = load_plugins().losses
    smoothed = [name for name in own if "label_smoothing" in losses[name].schema.params]
    assert sorted(re.findall(r"`(\w+)`", sentence[1])) == smoothed


def test_reporters_are_the_built_in_ones() -> None:
    rows = re.findall(r"^\| `(\w+)` \| `pip install", page("docs/reporters.md"), re.MULTILINE)
    own = next(plugin for plugin in load_plugins().plugins if plugin.name == "prefd:reporters")
    assert sorted(rows) == own.reporters


def test_metrics_are_the_trainers_own() -> None:
    names = {name for row in re.findall(r"^\| (`.*?) \|", section("docs/outputs.md", "Metrics"), re.MULTILINE)
             for name in re.findall(r"`(.*?)`", row)}  # fmt: skip
    assert names == TRAINERS_METRICS


def test_hooks_are_named() -> None:
    hooks = [name for name in vars(hookspecs) if name.startswith("register_")]
    assert hooks
    for hook in hooks:
        assert hook in page("docs/writing-a-loss.md")


def test_a_flat_config_and_the_spec_beside_it_are_the_same_job(tmp_path: Path) -> None:
    flat, own = blocks("yaml", "docs/from-mlx-lm-lora.md")
    (tmp_path / "preferences").mkdir()
    for split in ("train", "valid"):
        (tmp_path / "preferences" / f"{split}.jsonl").touch()
    there = translate(parse(flat.text.encode(), ".yaml").value, tmp_path)
    assert there.faults == []
    assert read_spec(json.dumps(there.document).encode(), "there.json") == read_spec(own.text.encode(), "there.yaml")


def test_every_setting_of_trls_dpo_trainer_is_in_its_page() -> None:
    text = page("docs/from-trl.md")
    for name in TRL:
        assert re.search(rf"`[^`]*\b{name}\b[^`]*`", text), name


def test_settings_of_trl_are_said_to_be_what_a_spec_that_uses_them_is_told() -> None:
    rows = re.findall(
        r"^\| `(\w+)` \|.*?`((?:training|data|reference|loss|model)[\w.]*)[`:]", page("docs/from-trl.md"), re.MULTILINE
    )
    settings = {name: CALLED[name] for name, _ in rows if name in CALLED and name not in EXPLAINED}
    assert settings
    for name, place in rows:
        if name in settings and name != "model_name_or_path":
            assert place.startswith(settings[name]), name


def test_the_readme_is_short() -> None:
    assert len(page("README.md").splitlines()) <= 160


def test_every_page_is_in_the_sites_navigation() -> None:
    listed = re.findall(r'"([\w-]+\.md)"', (ROOT / "zensical.toml").read_text(encoding="utf-8"))
    assert sorted(listed) == sorted(str(each.relative_to(DOCS)) for each in DOCS.rglob("*.md"))


def shown_states(cell: str) -> set[str]:
    return set(re.findall(r"`(\w+)`", cell))


def test_transitions_are_those_that_the_table_of_jobs_allows() -> None:
    rows = re.findall(r"^\| (`.*?`) \| (`\w+`) \| (.+) \|$", section("docs/architecture.md", "States"), re.MULTILINE)
    listed = {
        (begin, end) for cells, target, _ in rows for begin in shown_states(cells) for end in shown_states(target)
    }
    retried = {(state, "queued") for state in ENDED}
    allowed = {(str(state), str(target)) for state, facts in TABLE.items() for target in facts.may_become}
    assert listed == allowed | retried


def test_states_are_explained() -> None:
    rows = re.findall(r"^\| `(\w+)` \|", section("docs/queue.md", "States"), re.MULTILINE)
    assert tuple(rows) == STATES


def test_exit_codes_are_those_of_prefd() -> None:
    rows = re.findall(r"^\| (\d) \|", page("docs/commands.md"), re.MULTILINE)
    assert [int(code) for code in rows] == [int(code) for code in Exit]
