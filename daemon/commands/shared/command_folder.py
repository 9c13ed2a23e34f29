"""CommandFolder finds commands in the files of a folder, so that a new command is a new file and nothing else.

A command whose name is its file's is found without importing the other files; for another, files are imported until one
has it, and for a list of commands all are. What they need at import therefore stays light.
"""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
from collections.abc import Mapping
from functools import cached_property
from types import ModuleType

import click

from prefd.daemon.commands.shared.sections import HelpPlace, Section

GROUP = "group"
"""The file of a folder that holds its click group, which is called as the folder is."""


class CommandFolder:
    """CommandFolder holds the commands in the files of `package`, and the groups in its folders."""

    def __init__(self, package: ModuleType) -> None:
        self.name = package.__name__
        self.path = package.__path__

    def find(self, name: str) -> click.Command | None:
        """Return the command of this name; None where there is none."""
        files = sorted(self._files, key=lambda file: file != name.replace("-", "_"))
        return next((commands[name] for file in files if name in (commands := self._read(file))), None)

    @cached_property
    def commands(self) -> Mapping[str, click.Command]:
        """Return all commands by name. Raises ValueError where two share one."""
        commands: dict[str, click.Command] = {}
        for file in self._files:
            for name, command in self._read(file).items():
                if name in commands:
                    raise ValueError(f"two commands are called {name!r}, one of them in {self.name}.{file}")
                commands[name] = command
        return commands

    def list_sections(self) -> dict[Section, list[str]]:
        """List the names of the commands in each section, in the order of the files' ranks."""
        places: dict[str, HelpPlace] = {file: self._import(file).PLACE for file in self._files if self._read(file)}
        ordered = sorted(places, key=lambda file: (places[file].rank, file))
        return {
            section: [name for file in ordered if places[file].section is section for name in self._read(file)]
            for section in Section
        }

    @cached_property
    def _files(self) -> list[str]:
        """Return the names of the files, without that of this folder's own group, and of the folders, which come last."""
        entries = sorted(pkgutil.iter_modules(self.path), key=lambda entry: (entry.ispkg, entry.name))
        return [entry.name for entry in entries if entry.name != GROUP]

    @cached_property
    def _folders(self) -> set[str]:
        return {entry.name for entry in pkgutil.iter_modules(self.path) if entry.ispkg}

    def _import(self, file: str) -> ModuleType:
        """Import a file, or of a folder its group's; a folder without one has no commands."""
        module = f"{self.name}.{file}"
        if file in self._folders and importlib.util.find_spec(f"{module}.{GROUP}"):
            module += f".{GROUP}"
        return importlib.import_module(module)

    def _read(self, file: str) -> dict[str, click.Command]:
        """Return the commands that are written in a file, by name, in their order; of a folder, its group."""
        module = self._import(file)
        commands = [each for each in vars(module).values() if isinstance(each, click.Command)]
        return {
            str(each.name): each
            for each in commands
            if each.callback is not None and each.callback.__module__ == module.__name__
            if file not in self._folders or isinstance(each, click.Group)
        }
