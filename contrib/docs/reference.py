"""The parts of the documentation that the code itself says, as Markdown: settings, losses, rows, metrics, endpoints.

Pages call these functions in cog blocks; `make docs` writes what they give into the pages, and tests/docs/test_generated.py
fails when a page holds something else. Only what prefd itself brings is documented, whatever plugins are installed.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from markup import bounds, code, part, table

from prefd.daemon.control.api.app import list_endpoints
from prefd.daemon.control.api.endpoint import Endpoint
from prefd.daemon.control.api.events import Hub
from prefd.daemon.home.layout import Home
from prefd.daemon.home.settings import Config
from prefd.daemon.jobs.event_kinds import KINDS
from prefd.daemon.page.api.own_endpoints import list_own_endpoints
from prefd.daemon.specs.mlx_lm_lora.settings import (
    DEFAULTS,
    IGNORED,
    NAMES,
    OPTIMIZER_DEFAULTS,
    QUANTIZED,
    QUANTIZED_GROUP,
    REFUSED,
)
from prefd.daemon.text.foreign_settings import CALLED, EXPLAINED, OF_THE_LOSS
from prefd.daemon.text.strict_model import SpecModel
from prefd.plugins import formats
from prefd.plugins.manager import OWN, Plugins, RegisteredLoss, load_plugins
from prefd.plugins.metrics import METRICS


def own_plugins() -> Plugins:
    """prefd's losses and row formats, without those of other distributions."""
    plugins = load_plugins()
    ours = {plugin.name for plugin in plugins.plugins if plugin.name.startswith(f"{OWN}:")}
    losses = {name: loss for name, loss in plugins.losses.items() if loss.plugin in ours}
    return Plugins(losses, plugins=[plugin for plugin in plugins.plugins if plugin.name in ours])


# --- config.toml


def settings() -> str:
    """Every setting of config.toml, a table for each section."""
    sections: dict[str, type[SpecModel]] = {"": Config}
    for name, field in Config.model_fields.items():
        if isinstance(field.default, SpecModel):
            sections[name] = type(field.default)
    return part("\n".join(_section(name, model) for name, model in sections.items()))


def _section(name: str, model: type[SpecModel]) -> str:
    rows = [
        (f"`{field}`", code(each.default), each.description or "")
        for field, each in model.model_fields.items()
        if not isinstance(each.default, SpecModel)
    ]
    return (f"`[{name}]`\n\n" if name else "") + table(["setting", "default", "what it is"], rows)


# --- losses


def loss_list() -> str:
    """A line for each loss: its formula, whether it has a reference, and when to use it."""
    order = sorted(own_plugins().losses.items(), key=lambda each: not each[1].schema.needs_reference)
    rows = []
    for name, each in order:
        formula = each.schema.doc.splitlines()[0].partition(": ")[2].rstrip(".")
        formula = re.sub(r", (z )?without a reference", "", formula)
        has_reference = "yes" if each.schema.needs_reference else "no"
        rows.append((f"`{name}`", formula, has_reference, getattr(each.loss, "purpose", "")))
    return part(table(["name", "loss per pair", "reference", "use it"], rows))


def losses() -> str:
    """What each loss says of itself, as `prefd losses NAME` shows it."""
    order = sorted(own_plugins().losses.items(), key=lambda each: (not each[1].schema.needs_reference, each[0]))
    return part("\n".join(_loss(name, loss) for name, loss in order))


def _loss(name: str, loss: RegisteredLoss) -> str:
    text = inspect.cleandoc(loss.schema.doc)
    rows = [
        (f"`{param}`", each["type"], code(each["default"]), " and ".join(bounds(each)), each.get("description", ""))
        for param, each in loss.schema.params.items()
    ]
    parameters = (
        table(["parameter", "type", "default", "range", "what it does"], rows) if rows else "It has no parameters.\n"
    )
    return f"### `{name}`\n\n{text}\n\n{parameters}"


# --- rows


def row_shapes() -> str:
    """The columns that each row format reads, with how they are read and in which datasets they are found."""
    rows = [(f"`{format_name(module)}`", *shape) for module in formats.list_modules() for shape in module.ROW_SHAPES]
    return part(table(["format", "columns", "read as", "as in"], sorted(rows, key=lambda row: row[0])))


def format_name(module: ModuleType) -> str:
    """The name by which the module registers its format."""
    names: list[str] = []
    module.register_formats(lambda name, _: names.append(name))
    return names[0]


# --- metrics


def metrics() -> str:
    """A line for each metric that training logs with any loss."""
    return part(table(["metric", "what it is"], [(f"`{name}`", each.meaning) for name, each in METRICS.items()]))


# --- settings of other trainers


def mlx_lm_lora_settings() -> str:
    """Each setting of a flat config that has a place in a spec."""
    defaults = {name: code(value) for name, value in DEFAULTS.items()}
    rows = [(f"`{name}`", f"`{'.'.join(map(str, path))}`", defaults.get(name, "")) for name, path in NAMES.items()]
    rows += [
        (f"`{name}`", f"`training.quantize: {{bits: {bits}, group_size: {QUANTIZED_GROUP}}}`", "")
        for name, bits in QUANTIZED.items()
    ]
    return part(table(["there", "here", "where the file leaves it out"], rows))


def mlx_lm_lora_optimizers() -> str:
    """What each optimizer runs with where the file does not say."""
    rows = [
        (f"`{name}`", ", ".join(code({key: value}).strip("`{}").join("``") for key, value in values.items()))
        for name, values in OPTIMIZER_DEFAULTS.items()
    ]
    return part(table(["optimizer", "where the file leaves it out"], rows))


def mlx_lm_lora_ignored() -> str:
    """Settings that are passed over with a note, by the reason; and those that are refused."""
    tables = [("passed over", IGNORED), ("refused", REFUSED)]
    return part("\n".join(table([heading, "because"], _by_reason(reasons)) for heading, reasons in tables))


def other_names() -> str:
    """Settings as other trainers call them, and what they are here; a spec that uses one is told the same."""
    places: dict[str, list[str]] = {}
    for name, place in CALLED.items():
        places.setdefault(place, []).append(f"`{name}`")
    rows = [(", ".join(names), f"`{place}`") for place, names in places.items()]
    return part(table(["elsewhere", "here"], [*rows, *_by_reason(EXPLAINED)]))


def _by_reason(reasons: Mapping[str, str]) -> list[tuple[str, str]]:
    """The names of each reason in one row, in the order in which the reasons come."""
    names: dict[str, list[str]] = {}
    for name, reason in reasons.items():
        of_a_loss = reason == OF_THE_LOSS.format(name)  # the same for each, with its own name in it
        names.setdefault(OF_THE_LOSS.format("beta") if of_a_loss else reason, []).append(f"`{name}`")
    return [(", ".join(each), _spans(reason)) for reason, each in names.items()]


def _spans(text: str) -> str:
    """The text of a message, where a path with a placeholder is code: `<id>` alone would be taken for HTML."""
    return re.sub(r"(?<!`)(runs/<id>[\w/.]*\w|runs/<id>)", r"`\1`", text)


# --- the control API


def events() -> str:
    """Every kind of event in the stream, with what it says."""
    rows = []
    for kind, each in KINDS.items():
        meaning = inspect.cleandoc(each.__doc__ or "").splitlines()[0].partition("`: ")[2]
        names = [name for name in each.__dataclass_fields__ if name != "kind"]
        rows.append((f"`{kind}`", meaning.rstrip("."), ", ".join(f"`{name}`" for name in names)))
    return part(table(["event", "what it says", "fields"], rows))


class _Described:
    """The daemon as far as its endpoints ask for it before any request."""

    home = Home(Path("home"))

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"describing the endpoints asked for {name}")


def api() -> str:
    """Every endpoint of the control API, with its parameters."""
    daemon: Any = _Described()
    return _list_endpoints(list_endpoints(daemon, Hub(daemon.home)))


def page_api() -> str:
    """Every endpoint that the page's own process alone serves, with its parameters."""
    return _list_endpoints(list_own_endpoints(_Described.home))


def _list_endpoints(endpoints: Iterable[Endpoint]) -> str:
    rows = []
    for each in endpoints:
        fields = {} if each.query is None else each.query.model_fields
        query = [field.alias or name for name, field in fields.items()]
        rows.append((f"`{each.method} {each.path}`", each.summary, ", ".join(f"`{name}`" for name in query)))
    return part(table(["endpoint", "what it does", "parameters"], rows))
