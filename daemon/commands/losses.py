"""`prefd losses`, `check-loss` and `plugins` show what a child process finds, which has all plugins loaded."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from prefd.daemon.commands.shared.completions import LOSS
from prefd.daemon.commands.shared.errors import Exit, Failure
from prefd.daemon.commands.shared.options import json_option, pass_timing
from prefd.daemon.commands.shared.sections import HelpPlace, Section
from prefd.daemon.home.layout import Home
from prefd.daemon.terminal import render
from prefd.daemon.timing import Timing

if TYPE_CHECKING:
    from prefd.daemon.specs.catalog import LossInfo, PluginInfo

PLACE = HelpPlace(Section.SCORES, 10)
Params = Mapping[str, Mapping[str, Any]]

BOUNDS = {"exclusiveMinimum": ">", "minimum": "≥", "exclusiveMaximum": "<", "maximum": "≤"}


@click.command(
    epilog="""\b
Examples:
  prefd losses
  prefd losses dpop
  prefd losses --json | jq '.losses.ipo.params'"""
)
@click.argument("name", required=False, type=LOSS)
@json_option
@click.pass_obj
def losses(home: Home, name: str | None, as_json: bool) -> None:
    """List the losses, or explain one.

    With NAME, that loss's parameters, its formula and what it is for.
    """
    from prefd.daemon.specs.catalog_listing import load_catalog

    catalog = load_catalog(home)
    by_name = catalog.losses
    if name is not None and name not in by_name:
        raise report_unknown_loss(
            name, by_name, {plugin.name: plugin.error for plugin in catalog.plugins if plugin.error}
        )
    if as_json:
        selection = by_name if name is None else {name: by_name[name]}
        render.emit_json({"losses": {each: asdict(loss) for each, loss in selection.items()}})
    elif name is None:
        console = render.open_stdout()
        separator = "\n" if console.is_terminal else ", "  # a pipe wants one line a loss
        rows = [
            (loss_name, "yes" if loss.needs_reference else "no", format_defaults(loss.params, separator), loss.summary)
            for loss_name, loss in sorted(by_name.items(), key=lambda item: (not item[1].needs_reference, item[0]))
        ]
        console.print(render.make_table(["loss", "reference", "parameters", "what it is"], rows))
    else:
        show_loss(name, by_name[name])


def report_unknown_loss(name: str, loss_names: Iterable[str], plugin_errors: Mapping[str, str]) -> Failure:
    """Makes the failure of an unknown loss. `plugin_errors`: why plugins could not be loaded; the loss may be one of theirs."""
    from prefd.daemon.text.unknown_losses import explain_unknown_loss

    return Failure("\n".join(explain_unknown_loss(name, loss_names, plugin_errors)), Exit.NOT_FOUND)


def format_defaults(params: Params, separator: str) -> str:
    """Formats the parameters of a loss with their defaults."""
    return separator.join(f"{name}={format_default(param.get('default'))}" for name, param in params.items()) or "-"


def format_default(default: Any) -> str:
    """Formats a default as it is written in a spec."""
    if isinstance(default, bool):
        return str(default).lower()
    return f"{default:g}" if isinstance(default, float) else str(default)


def format_bounds(param: Mapping[str, Any]) -> str:
    """Formats the range of a parameter."""
    return " and ".join(f"{sign} {format_default(param[key])}" for key, sign in BOUNDS.items() if key in param) or "-"


def show_loss(name: str, loss: LossInfo) -> None:
    """Prints a loss, its parameters, and its docstring."""
    console = render.open_stdout()
    reference = "needed: its log-probabilities come from the cache" if loss.needs_reference else "not needed"
    facts = [("loss", name), ("plugin", loss.plugin), ("reference", reference)]
    if not loss.batch_independent:
        facts.append(("batch", "a pair's loss depends on the pairs beside it, so training.batch_size is part of it"))
    console.print(render.make_facts(facts))
    if loss.params:
        rows = [
            (param, spec["type"], format_default(spec.get("default")), format_bounds(spec), spec.get("description", ""))
            for param, spec in loss.params.items()
        ]
        console.print()
        console.print(render.make_table(["parameter", "type", "default", "range", "what it does"], rows))
    console.print()
    console.print(reflow_docstring(loss.doc))


def reflow_docstring(doc: str) -> str:
    """Makes the paragraphs of a docstring fill the terminal's lines; indented ones stay as they were written."""
    paragraphs = inspect.cleandoc(doc).split("\n\n")
    return "\n\n".join(text if "\n " in text else " ".join(text.split("\n")) for text in paragraphs)


@click.command(
    epilog="""\b
Examples:
  prefd plugins
  prefd plugins --json | jq '.plugins[] | select(.error)'"""
)
@json_option
@click.pass_obj
def plugins(home: Home, as_json: bool) -> None:
    """List the plugins, and why one could not be loaded."""
    from prefd.daemon.specs.catalog_listing import load_catalog

    catalog_plugins = load_catalog(home, anew=True).plugins
    if as_json:
        render.emit_json({"plugins": [asdict(plugin) for plugin in catalog_plugins]})
        return
    rows = [
        (plugin.name, plugin.version or "-", plugin.source, describe_contents(plugin)) for plugin in catalog_plugins
    ]
    render.open_stdout().print(render.make_table(["plugin", "version", "source", "brings"], rows))
    for plugin in catalog_plugins:
        if plugin.error:
            render.print_warning(f"plugin {plugin.name} could not be loaded: {plugin.error}")


def describe_contents(plugin: PluginInfo) -> str:
    """Describes the losses, row formats and reporters that a plugin brings."""
    parts = [("losses", plugin.losses), ("row formats", plugin.formats), ("reporters", plugin.reporters)]
    return "; ".join(f"{kind}: {', '.join(names)}" for kind, names in parts if names) or "nothing"


@click.command(
    "check-loss",
    epilog="""\b
Examples:
  prefd check-loss dpop
  prefd check-loss my_loss --json | jq '.checks[] | select(.result == "failed")'""",
)
@click.argument("name", type=LOSS)
@json_option
@pass_timing
@click.pass_context
def check_loss(ctx: click.Context, timing: Timing, name: str, as_json: bool) -> None:
    """Try whether a loss keeps what training relies on.

    Shapes, finite values and gradients over wide ranges, the gradient against differences, padding, the batch, and the value where the policy is the reference. For authors of losses: prefd.plugins.conformance does the same in your tests. Exit code 1 if a check fails.
    """
    from prefd.daemon.commands.shared.references import ask_worker
    from prefd.daemon.worker_tasks.answers import LossCheck
    from prefd.daemon.worker_tasks.inputs import LossCheckInput

    home: Home = ctx.obj
    step = f"trying the loss {name}"
    answer = ask_worker(home, "check-loss", LossCheckInput(name=name), LossCheck, timing.loss_check, step)
    if answer.known is not None:
        raise report_unknown_loss(name, answer.known, answer.failed)
    ok = all(check.result != "failed" for check in answer.checks)
    if as_json:
        render.emit_json(answer.to_json() | {"ok": ok})
    else:
        rows = [(check.check, check.result, check.detail) for check in answer.checks]
        render.open_stdout().print(render.make_table(["check", "result", "what was tried, or what is wrong"], rows))
    if not ok:
        ctx.exit(Exit.FAILED)
