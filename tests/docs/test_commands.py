"""Every command line in the documentation is one: `prefd` with its options, make targets, and other programs that are known."""

from __future__ import annotations

import re
import shlex
from importlib import util
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import click
import pytest

from prefd.daemon.cli import cli
from prefd.daemon.control.api.app import list_endpoints
from prefd.daemon.control.api.events import Hub
from prefd.daemon.home.layout import Home
from support.control_server import FakeDaemon
from support.pages import blocks, spans
from support.paths import ROOT

OTHERS = {
    *("mkdir", "cd", "sed", "systemctl", "loginctl", "launchctl", "socat", "python", "pytest", "twine", ".", "api()"),
    *("towncrier", "git", "uv", "ssh", "ssh-keygen", "ssh-copy-id", "rsync", "export"),
}
"""Programs whose command lines are not prefd's to check."""
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")


def lines() -> list[tuple[str, str]]:
    """(place, command line) of every line of a shell block, and of every prompt of a transcript."""
    lines_of_page = []
    for block in [*blocks("sh"), *blocks("console")]:
        for number, line in enumerate(block.text.splitlines(), start=block.line + 1):
            prompt = line.removeprefix("$ ")
            if line.strip() and (block.language == "sh" or prompt != line):
                lines_of_page.append((f"{block.page}:{number}", prompt))
    return lines_of_page


def words_of(line: str) -> list[str]:
    """The words of the first command of a line, without its comment and what is behind a pipe or a redirection."""
    words = shlex.split(line.replace("…", ""), comments=True)
    ends = [position for position, word in enumerate(words) if re.fullmatch(r"\||>|>>|&&|;", word)]
    return words[: ends[0]] if ends else words


def parse(command: click.Command, words: list[str], context: click.Context, whole: bool) -> None:
    """Raises UsageError for options and sub-commands that there are not; with `whole` also for arguments that lack."""
    values, rest, _ = command.make_parser(context).parse_args(words)
    if isinstance(command, click.Group):
        if rest:
            below = command.get_command(context, rest[0])
            assert below is not None, f"there is no command {rest[0]}"
            parse(below, rest[1:], click.Context(below, parent=context, info_name=rest[0]), whole)
        return
    assert not rest, f"{rest} is too much"
    lacking = [each.name for each in command.params if each.required and not values.get(each.name or "")]
    assert not (whole and lacking), f"{lacking} is lacking"


def check_prefd(words: list[str], whole: bool) -> None:
    parse(cli, words, click.Context(cli, info_name="prefd", **cli.context_settings), whole)


def check_make(words: list[str]) -> None:
    for target in [word for word in words if "=" not in word]:
        if target.startswith("bench-"):
            assert (ROOT / "benchmarks" / f"bench_{target.removeprefix('bench-')}.py").exists(), target
            continue
        assert re.search(rf"^{target}:", MAKEFILE, flags=re.MULTILINE), f"there is no target {target}"
    which = next((word.partition("=")[2] for word in words if word.startswith("WHICH=")), None)
    assert which is None or (ROOT / "benchmarks" / f"bench_{which}.py").exists(), which


def check_mlx_lm(program: str, words: list[str]) -> None:
    """mlx_lm's programs are its modules; their options are read off the source, for importing one loads MLX."""
    module_spec = util.find_spec("mlx_lm")
    assert module_spec is not None
    assert module_spec.submodule_search_locations is not None
    source = Path(module_spec.submodule_search_locations[0], *program.split(".")[1:]).with_suffix(".py").read_text()
    for word in words:
        assert not word.startswith("-") or f'"{word}"' in source, f"{program} has no {word}"


def check_pip(words: list[str]) -> None:
    extras = {name for word in words for name in re.findall(r"^(?:\.|prefd)\[(\w+)\]$", word)}
    pyproject = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    for extra in extras:
        assert re.search(rf"^{extra} = \[", pyproject, re.MULTILINE), f"there is no extra {extra}"


def check_api(words: list[str], tmp_path: Path) -> None:
    """A request to the control socket: its path, method and parameters are in the API."""
    (url,) = (urlsplit(word) for word in words if word.startswith("http"))
    method = words[words.index("-X") + 1] if "-X" in words else "POST" if "--data-binary" in words else "GET"
    home = Home(tmp_path)
    path = re.sub(r"/\d+(?=/|$)", "/{job_id}", url.path)
    (endpoint,) = (
        each for each in list_endpoints(FakeDaemon(home), Hub(home)) if (each.method, each.path) == (method, path)
    )
    parameters = set() if endpoint.query is None else endpoint.query.model_fields.keys()
    assert {name for name, _ in parse_qsl(url.query)} <= parameters


def test_every_command_line_is_one(subtests: pytest.Subtests, tmp_path: Path) -> None:
    assert len(lines()) > 50
    for place, line in lines():
        with subtests.test(place):
            check_line(line, tmp_path)


def check_line(line: str, tmp_path: Path) -> None:
    if not (words := words_of(line)):
        return
    match words:
        case ["prefd", *rest]:
            check_prefd(rest, whole=True)
        case ["make", *rest]:
            check_make(rest)
        case ["pip", *rest]:
            check_pip(rest)
        case ["api", *rest]:
            check_api(rest, tmp_path)
        case [program, *rest] if program.startswith("mlx_lm."):
            check_mlx_lm(program, rest)
        case [program, *_]:
            assert program in OTHERS, f"{program} is not known here; is it a command line?"


def in_sentences() -> list[tuple[str, str]]:
    """(page, text) of every code span that is a command line of prefd, make, pip or mlx_lm."""
    programs = re.compile(r"(prefd|make|pip|mlx_lm\.\w+) [^:=]*")
    programs_in_text = {
        (page, text) for page, text in spans() if programs.match(text) and not text.startswith("prefd:")
    }
    inner = {(page, each) for page, text in spans() for each in re.findall(r"\$\((prefd [^)]*)\)", text)}
    return sorted(programs_in_text | inner)


def test_every_command_in_a_sentence_is_one(subtests: pytest.Subtests) -> None:
    assert len(in_sentences()) > 50
    for page, text in in_sentences():
        with subtests.test(f"{page}: {text}"):
            check_span(text)


def check_span(text: str) -> None:
    match words_of(text):
        case ["prefd", *rest]:
            check_prefd(rest, whole=False)
        case ["make", *rest]:
            check_make(rest)
        case ["pip", *rest]:
            check_pip(rest)
        case [program, *rest]:
            check_mlx_lm(program, rest)


def list_without_json(command: click.Command, context: click.Context, path: str = "") -> list[str]:
    """The commands below `command`, by what is typed of each, that have no --json."""
    if isinstance(command, click.Group):
        commands = {name: command.get_command(context, name) for name in command.list_commands(context)}
        return [
            path_below
            for name, below in commands.items()
            if below is not None
            for path_below in list_without_json(below, click.Context(below, context), f"{path} {name}")
        ]
    return [] if any("--json" in each.opts for each in command.params) else [path.strip()]


def test_commands_without_json_are_those_that_the_page_excepts() -> None:
    text = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    sentence = re.search(r"^All commands but (.*?) take `--json`", text, re.DOTALL | re.MULTILINE)
    assert sentence is not None
    with click.Context(cli) as context:
        assert sorted(re.findall(r"`prefd ([\w ]+)`", sentence[1])) == sorted(list_without_json(cli, context))


def test_every_command_is_in_the_documentation() -> None:
    from support.pages import headings

    listed = set(headings(ROOT / "docs" / "commands.md"))
    with click.Context(cli) as context:
        for name in cli.list_commands(context):
            assert f"prefd {name}" in listed
            command = cli.get_command(context, name)
            if isinstance(command, click.Group):
                assert {f"prefd {name} {below}" for below in command.list_commands(context)} <= listed
