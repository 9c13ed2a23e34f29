"""The README is true: its specs validate, its loss runs in a job, its commands and make targets are the real ones."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner
from jobs_on_disk import make_job, run_precompute, run_training
from paths import ROOT

from prefd.daemon.cli import cli
from prefd.daemon.config import Config
from prefd.daemon.home import Home
from prefd.daemon.specfile import read_spec, read_specs
from prefd.plugins.conformance import assert_conforms
from prefd.plugins.manager import load_plugins

README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, flags=re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("block", blocks("yaml"))
def test_every_spec_is_one(block: str) -> None:
    assert all(spec.training is not None for spec in read_specs(block.encode(), "readme.yaml").specs)


@pytest.mark.parametrize("block", blocks("toml"))
def test_every_config_is_one(block: str, home: Path) -> None:
    made = Home(home)
    made.create()
    made.config.write_text(block)
    assert Config.load(made) != Config()


def test_the_full_spec_shows_every_key() -> None:
    spec = read_spec(blocks("yaml")[1].encode(), "readme.yaml")

    def shown(model: object, text: str) -> None:
        for name in type(model).model_fields:  # type: ignore[attr-defined]
            if name == "iters":
                assert "or iters:" in text
                continue
            assert re.search(rf"\b{name}:", text), name
            value = getattr(model, name)
            if hasattr(type(value), "model_fields"):
                shown(value, text)

    shown(spec, blocks("yaml")[1])


def test_the_loss_trains_a_policy_with_its_extra_metric(home: Path, tiny_model: Path, pairs_file: Path) -> None:
    source = next(block for block in blocks("python") if "register_losses" in block)
    settings = next(block for block in blocks("toml") if "plugins" in block)
    job = make_job(
        home,
        model=str(tiny_model),
        data={"path": str(pairs_file)},
        loss={"name": "squared", "target": 2.0},
        training={"iters": 3},
    )
    (home / "squared.py").write_text(source)
    (home / "config.toml").write_text(settings)
    run_precompute(job)
    run_training(job)
    lines = list(job.run.read_metrics())
    assert lines[0]["loss"] == pytest.approx(4.0, abs=1e-4)
    assert "logit" in lines[0]


def test_the_loss_conforms() -> None:
    source = next(block for block in blocks("python") if "register_losses" in block)
    names: dict[str, Any] = {}
    exec(compile(source, "README.md", "exec", dont_inherit=True), names)  # noqa: S102  # our own README
    assert_conforms(names["Squared"], "squared")


@pytest.mark.parametrize("listed", re.findall(r"`(loss: \[.*?\])`", README))
def test_a_list_of_losses_is_a_spec(listed: str) -> None:
    spec = read_spec(f"model: m\ndata: {{path: p}}\n{listed}\n".encode(), "readme.yaml")
    assert {loss.name for loss in spec.losses.values()} <= load_plugins().losses.keys()


@pytest.mark.filterwarnings("ignore")  # matplotlib's own, where there is no display
def test_the_notebook_example_runs(
    home: Path, tiny_model: Path, pairs_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_precompute(make_job(home, model=str(tiny_model), data={"path": str(pairs_file)}))
    source = next(block for block in blocks("python") if "ReferenceLogprobs" in block)
    (tmp_path / "SmolLM2-135M-Instruct").symlink_to(tiny_model)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "agg")
    exec(compile(source, "README.md", "exec"), {})  # noqa: S102  # our own README
    assert (tmp_path / "reference-logprobs.png").stat().st_size > 1000


def test_the_zarr_example_reads_a_segment(home: Path, tiny_model: Path, pairs_file: Path) -> None:
    job = make_job(home, model=str(tiny_model), data={"path": str(pairs_file)})
    run_precompute(job)
    source = next(block for block in blocks("python") if "zarr.open_group" in block)
    path = str(job.store.segments[0].path)
    names: dict[str, object] = {}
    exec(compile(re.sub(r'"cache/refs.*?"', repr(path), source), "README.md", "exec"), names)  # noqa: S102  # our own README
    assert len(names["logprob"]) == job.store.segments[0].tokens  # type: ignore[arg-type]


@pytest.mark.smol
def test_the_preview_is_what_prefd_prints(home: Path, smol_model: Path, tmp_path: Path) -> None:
    block = next(block for block in blocks("console") if "$ prefd preview" in block)
    command, *lines = block.splitlines()
    (tmp_path / "SmolLM2-135M-Instruct").symlink_to(smol_model)
    (tmp_path / "pairs.jsonl").write_bytes((ROOT / "contrib" / "demo" / "pairs.jsonl").read_bytes())
    (tmp_path / "ipo.yaml").write_text(blocks("yaml")[0])
    name, *arguments = command.removeprefix("$ prefd preview ").split()
    command_line = ["--home", str(home), "preview", str(tmp_path / name), *arguments]
    printed = CliRunner().invoke(cli, command_line).stdout
    printed = printed.replace(str(smol_model.resolve()), "/home/me/SmolLM2-135M-Instruct")
    printed = printed.replace(str(tmp_path), "/home/me")
    assert [line.rstrip() for line in printed.splitlines()] == lines


def test_commands_are_listed_and_exist() -> None:
    table = README[README.index("## Commands") : README.index("## The home")]
    listed = set(re.findall(r"`prefd ([a-z-]+)[ `]", table))
    with click.Context(cli) as context:
        assert listed == set(cli.list_commands(context))
        cache = cli.get_command(context, "cache")
        assert isinstance(cache, click.Group)
        for name in cache.list_commands(context):
            assert re.search(rf"[` ]{name}[` ]", table), name


def test_make_targets_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for target in set(re.findall(r"(?:^|`)make ([a-z-]+)\b", README, flags=re.MULTILINE)):
        assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE), target


def test_losses_are_the_built_in_ones() -> None:
    table = README[README.index("## Losses") : README.index("### Write one")]
    built_in = next(plugin for plugin in load_plugins().plugins if plugin.name == "prefd:losses")
    rows = re.findall(r"^\| `(\w+)` \| .*? \| (yes|no) \|", table, flags=re.MULTILINE)
    assert sorted(name for name, _ in rows) == built_in.losses
    for name, reference in rows:
        assert load_plugins().losses[name].schema.needs_reference is (reference == "yes")


def test_hooks_are_named() -> None:
    from prefd.plugins import hookspecs

    hooks = [name for name in vars(hookspecs) if name.startswith("register_")]
    assert hooks
    for hook in hooks:
        assert hook in README
