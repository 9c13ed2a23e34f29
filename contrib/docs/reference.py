"""The parts of the documentation that the code itself says, as Markdown: specs, settings, commands, losses, endpoints.

Pages call these functions in cog blocks; `make docs` writes what they give into the pages, and tests/docs/test_generated.py
fails when a page holds something else. Only what prefd itself brings is documented, whatever plugins are installed.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import click

from prefd.daemon.cli import COMMANDS, cli
from prefd.daemon.control.api.app import list_endpoints
from prefd.daemon.control.api.endpoint import Endpoint
from prefd.daemon.control.api.events import Hub
from prefd.daemon.home.layout import Home
from prefd.daemon.home.settings import Config
from prefd.daemon.jobs.event_kinds import KINDS
from prefd.daemon.page.api.own_endpoints import list_own_endpoints
from prefd.daemon.specs.catalog import Catalog
from prefd.daemon.specs.json_schema import build_schema
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

WIDTH = 92
"""Characters of a line of help text, so that no page scrolls sideways."""
BOUNDS = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
BLOCKS = {
    "": "Which job, of which model",
    "reference": "The frozen model, where it is not a copy of where the policy starts",
    "data": "The pairs",
    "data.path[]": "One dataset of several: an entry of `data.path`, where that is a list",
    "loss": "One loss",
    "training": "How the policy is trained",
    "training.lora": "The adapter",
    "training.quantize": "Quantization of the policy's weights at load",
    "training.qat": "Training for being quantized afterwards",
    "training.lr_schedule": "The learning rate by step",
    "training.best_checkpoint": "Which checkpoint is kept besides the newest",
    "training.early_stopping": "When to end before the last step",
    "output": "What is written besides the adapter",
}
"""Each block of a spec by its place, and its heading's first sentence."""


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; a cell's bars are escaped."""
    lines = [list(header), ["---"] * len(header), *([cell.replace("|", "\\|") for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines) + "\n"


def code(value: Any) -> str:
    """A value as it is written in a spec; nothing for none."""
    return "" if value is None else f"`{_written(value)}`"


def _written(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list):
        return f"[{', '.join(map(_written, value))}]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name}: {_written(each)}" for name, each in value.items()) + "}"
    return str(value) if value != "" else '""'


def bounds(schema: Mapping[str, Any]) -> list[str]:
    """The bounds of a number, such as `≥ 1`."""
    return [f"{sign} {_bound(schema[key])}" for key, sign in BOUNDS.items() if key in schema]


def _bound(value: float) -> str:
    return f"{int(value):,}" if value == int(value) else f"{value:g}"


def part(text: str) -> str:
    """`text` as a part of a page, with an empty line before and after it."""
    return f"\n{text.strip()}\n\n"


# --- a spec


def own_plugins() -> Plugins:
    """prefd's losses and row formats, without those of other distributions."""
    found = load_plugins()
    ours = {plugin.name for plugin in found.plugins if plugin.name.startswith(f"{OWN}:")}
    losses = {name: loss for name, loss in found.losses.items() if loss.plugin in ours}
    return Plugins(losses, {}, [plugin for plugin in found.plugins if plugin.name in ours])


def spec_blocks() -> str:
    """Every setting of a spec, a table for each block, from the JSON Schema that `prefd schema` prints."""
    schema = build_schema(Catalog.from_json(own_plugins().to_json()))
    return part("\n".join(_spec_block(schema, place, title) for place, title in BLOCKS.items()))


def _spec_block(schema: Mapping[str, Any], place: str, title: str) -> str:
    block = _definition(schema, place)
    if place == "loss":
        text = "`name`, and that loss's own parameters; in a list of losses also `weight` (default `1`). See [Losses](losses.md).\n"
        return f"## `loss`\n\n{title}: {text}"
    required = set(block.get("required", ())) | ({"model", "data"} if place == "" else set())
    rows = [
        (f"`{name}`", _type_of(schema, each, place, name), _default_of(each, name in required), _meaning_of(each))
        for name, each in block["properties"].items()
        if not (place == "" and name == "sweep")
    ]
    heading = f"## `{place}`" if place else "## The top"
    return f"{heading}\n\n{title}.\n\n" + table(["setting", "type", "default", "what it is"], rows)


def _definition(schema: Mapping[str, Any], place: str) -> Mapping[str, Any]:
    found: Mapping[str, Any] = schema
    for part in filter(None, place.split(".")):
        name = part.removesuffix("[]")
        target = next(
            each["$ref"]
            for each in _choices(found["properties"][name])
            if "$ref" in each and not each["$ref"].endswith("/WeightedLossSpec")
        )
        found = schema["$defs"][target.rpartition("/")[2]]
    return found


def _choices(schema: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """`schema` and every schema within its alternatives and lists."""
    yield schema
    for key in ("anyOf", "oneOf", "allOf"):
        for each in schema.get(key, ()):
            yield from _choices(each)
    if isinstance(items := schema.get("items"), dict):
        yield from _choices(items)


def _type_of(schema: Mapping[str, Any], value: Mapping[str, Any], place: str, name: str) -> str:
    words = [word for word in dict.fromkeys(_types(value, f"{place}.{name}".lstrip("."))) if word != "null"]
    return " or ".join(words)


def _types(value: Mapping[str, Any], place: str) -> Iterator[str]:
    for key in ("anyOf", "oneOf", "allOf"):
        for each in value.get(key, ()):
            yield from _types(each, place)
    if "$ref" in value:
        own = {"data.path": "data.path[]"}.get(place, place)
        yield f"[block](#{slug(own)})" if own in BLOCKS else "block"
    elif "enum" in value:
        yield ", ".join(f"`{each}`" for each in value["enum"])
    elif "const" in value:
        yield f"`{value['const']}`"
    elif value.get("type") == "array":
        yield f"list of {' or '.join(dict.fromkeys(_types(value.get('items', {}), place))) or 'anything'}"
    elif "type" in value:
        yield " ".join([{"object": "mapping"}.get(value["type"], value["type"]), *bounds(value)])


def slug(place: str) -> str:
    """The anchor of a block's heading."""
    return place.replace(".", "").replace("[]", "")


def _default_of(value: Mapping[str, Any], required: bool) -> str:
    if required:
        return "required"
    return "" if isinstance(value.get("default"), dict) and value["default"] else code(value.get("default"))


def _meaning_of(value: Mapping[str, Any]) -> str:
    examples = value.get("examples") or []
    told = "; for example " + ", ".join(code(each) for each in examples) if examples else ""
    return str(value.get("description", "")) + told


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


# --- commands


def command_list(page: str = "") -> str:
    """A line for each command, in the sections of `prefd --help`, with a link into `page`."""
    lines = []
    for section, names in COMMANDS.list_sections().items():
        rows = [(f"[`{path}`]({page}#{path.replace(' ', '-')})", text) for path, text in _summaries(names)]
        lines.append(table([section, ""], rows))
    return part("\n".join(lines))


def command_lines(page: str) -> str:
    """The commands of each section on one line, each a link into `page`."""
    lines = []
    for section, names in COMMANDS.list_sections().items():
        links = [f"[`{path.removeprefix('prefd ')}`]({page}#{path.replace(' ', '-')})" for path, _ in _summaries(names)]
        lines.append(f"- {section}: {', '.join(links)}")
    return part("\n".join(lines))


def _summaries(names: Iterable[str]) -> Iterator[tuple[str, str]]:
    for name in names:
        for path, command in _tree(["prefd", name], _command(name)):
            if not isinstance(command, click.Group):
                yield path, command.get_short_help_str(200)


def _command(name: str) -> click.Command:
    found = cli.get_command(click.Context(cli), name)
    assert found is not None
    return found


def _tree(path: list[str], command: click.Command) -> Iterator[tuple[str, click.Command]]:
    """`command` and the commands below it, each with all of its words."""
    yield " ".join(path), command
    if isinstance(command, click.Group):
        for name, each in command.commands.items():
            yield from _tree([*path, name], each)


def commands() -> str:
    """What `--help` prints of every command."""
    parts = [f"## `prefd`\n\n{_help('prefd', cli)}"]
    for names in COMMANDS.list_sections().values():
        for name in names:
            parts += [f"## `{path}`\n\n{_help(path, each)}" for path, each in _tree(["prefd", name], _command(name))]
    return part("\n".join(parts))


def _help(path: str, command: click.Command) -> str:
    context = click.Context(command, info_name=path, max_content_width=WIDTH, terminal_width=WIDTH)
    context.help_option_names = cli.context_settings["help_option_names"]
    return f"```text\n{command.get_help(context).rstrip()}\n```\n"


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
