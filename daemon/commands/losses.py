"""`prefd losses`, `check-loss` and `plugins`: what a child process, which has them all loaded, found."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from prefd.daemon.commands.shared.completions import LOSS
from prefd.daemon.commands.shared.errors import Exit, Failure
from prefd.daemon.commands.shared.options import json_option
from prefd.daemon.home.layout import Home
from prefd.daemon.terminal import render

if TYPE_CHECKING:
    from prefd.daemon.specs.catalog import LossInfo

Params = Mapping[str, Mapping[str, Any]]

CHECK_SECONDS = 300.0  # a check takes a few; a plugin that waits for something takes for ever
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
    known = catalog.losses
    if name is not None and name not in known:
        raise no_such_loss(name, known, {plugin.name: plugin.error for plugin in catalog.plugins if plugin.error})
    if as_json:
        wanted = known if name is None else {name: known[name]}
        render.emit_json({"losses": {each: asdict(loss) for each, loss in wanted.items()}})
    elif name is None:
        console = render.stdout()
        separator = "\n" if console.is_terminal else ", "  # a pipe wants one line a loss
        rows = [
            (loss_name, "yes" if loss.needs_reference else "no", defaults(loss.params, separator), loss.summary)
            for loss_name, loss in sorted(known.items(), key=lambda item: (not item[1].needs_reference, item[0]))
        ]
        console.print(render.table(["loss", "reference", "parameters", "what it is"], rows))
    else:
        show_loss(name, known[name])


def no_such_loss(name: str, known: Iterable[str], failed: Mapping[str, str]) -> Failure:
    """`failed`: the plugins that could not be loaded, with the reason; the loss may be one of theirs."""
    from prefd.daemon.text.unknown_losses import advice

    hints = [
        *filter(None, [advice(name, known)]),
        f"there are: {', '.join(sorted(known))}",
        *(f"plugin {plugin} could not be loaded: {error}" for plugin, error in failed.items()),
    ]
    return Failure("\n".join([f"no loss is called {name!r}", *hints]), Exit.NOT_FOUND)


def defaults(params: Params, separator: str) -> str:
    return separator.join(f"{name}={value(param.get('default'))}" for name, param in params.items()) or "-"


def value(given: Any) -> str:
    """A default as it is written in a spec."""
    if isinstance(given, bool):
        return str(given).lower()
    return f"{given:g}" if isinstance(given, float) else str(given)


def bounds(param: Mapping[str, Any]) -> str:
    return " and ".join(f"{sign} {value(param[key])}" for key, sign in BOUNDS.items() if key in param) or "-"


def show_loss(name: str, loss: LossInfo) -> None:
    console = render.stdout()
    reference = "needed: its log-probabilities come from the cache" if loss.needs_reference else "not needed"
    facts = [("loss", name), ("plugin", loss.plugin), ("reference", reference)]
    if not loss.batch_independent:
        facts.append(("batch", "a pair's loss depends on the pairs beside it, so training.batch_size is part of it"))
    console.print(render.facts(facts))
    if loss.params:
        rows = [(param, spec["type"], value(spec.get("default")), bounds(spec)) for param, spec in loss.params.items()]
        console.print()
        console.print(render.table(["parameter", "type", "default", "range"], rows))
    console.print()
    console.print(reflow(loss.doc))


def reflow(doc: str) -> str:
    """A docstring whose paragraphs fill the terminal's lines; indented ones stay as they were written."""
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

    found = load_catalog(home).plugins
    if as_json:
        render.emit_json({"plugins": [asdict(plugin) for plugin in found]})
        return
    rows = [
        (plugin.name, plugin.version or "-", plugin.source, brings(plugin.losses, plugin.formats)) for plugin in found
    ]
    render.stdout().print(render.table(["plugin", "version", "source", "brings"], rows))
    for plugin in found:
        if plugin.error:
            render.warn(f"plugin {plugin.name} could not be loaded: {plugin.error}")


def brings(loss_names: Sequence[str], formats: Sequence[str]) -> str:
    parts = [("losses", loss_names), ("row formats", formats)]
    return "; ".join(f"{what}: {', '.join(names)}" for what, names in parts if names) or "nothing"


@click.command(
    "check-loss",
    epilog="""\b
Examples:
  prefd check-loss dpop
  prefd check-loss my_loss --json | jq '.checks[] | select(.result == "failed")'""",
)
@click.argument("name", type=LOSS)
@json_option
@click.pass_context
def check_loss(ctx: click.Context, name: str, as_json: bool) -> None:
    """Try whether a loss keeps what training relies on.

    Shapes, finite values and gradients over wide ranges, the gradient against differences, padding, the batch, and the value where the policy is the reference. For authors of losses: prefd.plugins.conformance does the same in your tests. Exit code 1 if a check fails.
    """
    from prefd.daemon.commands.shared.references import ask_worker
    from prefd.daemon.worker_tasks.answers import LossCheck
    from prefd.daemon.worker_tasks.inputs import LossCheckInput

    home: Home = ctx.obj
    step = f"loading the plugins and trying {name}"
    found = ask_worker(home, "check-loss", LossCheckInput(name=name), LossCheck, CHECK_SECONDS, step)
    if found.known is not None:
        raise no_such_loss(name, found.known, found.failed)
    ok = all(check.result != "failed" for check in found.checks)
    if as_json:
        render.emit_json(found.to_json() | {"ok": ok})
    else:
        rows = [(check.check, check.result, check.detail) for check in found.checks]
        render.stdout().print(render.table(["check", "result", "what was tried, or what is wrong"], rows))
    if not ok:
        ctx.exit(Exit.FAILED)
