"""What the documentation says of the commands: lists of them, and what `--help` prints of each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import click
from markup import part, table

from prefd.daemon.cli import COMMANDS, cli

WIDTH = 92
"""Characters of a line of help text, so that no page scrolls sideways."""


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
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    return command


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
