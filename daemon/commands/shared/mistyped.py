"""What to say of a command or an option that there is not. click guesses by likeness alone: `--fresh` for `--force`."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Mapping, Sequence

import click

from prefd.daemon.text.wording import clip, nearest

INSTEAD: Mapping[str, str] = {
    **dict.fromkeys(("ls", "list", "ps", "queue"), "`prefd jobs` lists the jobs"),
    **dict.fromkeys(
        ("train", "dpo", "finetune", "lora"),
        "`prefd run SPEC` trains here and now, `prefd submit SPEC` hands it to the daemon",
    ),
    **dict.fromkeys(("kill", "abort", "rm", "delete"), "`prefd cancel ID` ends a job"),
    **dict.fromkeys(("add", "queue-job", "enqueue"), "`prefd submit SPEC` hands a job to the daemon"),
    **dict.fromkeys(("check", "lint"), "`prefd validate SPEC` checks a spec, `prefd doctor` the machine"),
    **dict.fromkeys(("log", "tail"), "`prefd logs ID` shows what its workers wrote"),
    **dict.fromkeys(("stat", "info"), "`prefd status` says what the daemon does, `prefd show ID` all of a job"),
    **dict.fromkeys(("version",), "`prefd --version` says it"),
    **dict.fromkeys(
        ("verify", "prune", "compact", "explain", "export", "import"), "it is about the cache: `prefd cache {0}`"
    ),
    **dict.fromkeys(("fuse", "merge"), "a spec asks for it: output: {{fuse: true}}"),
}
"""Commands as other programs call them, and what there is here."""


def no_such_command(ctx: click.Context, name: str, known: Collection[str]) -> click.UsageError:
    """The error for `prefd NAME`, with what may be meant."""
    if said := INSTEAD.get(name.lower()):
        said = said.format(name.lower())
    elif near := nearest(name, known):
        said = f"did you mean `prefd {near}`?"
    else:
        said = "`prefd --help` lists them"
    return click.UsageError(f"no such command: {clip(name)!r}; {said}", ctx)


def no_such_option(root: click.Context, error: click.NoSuchOption, typed: Sequence[str]) -> click.ClickException:
    """`error` with a better guess than click's; `typed` is what came behind `prefd`."""
    name = error.option_name
    own = {option for param in root.command.params if isinstance(param, click.Option) for option in param.opts}
    if name in own and error.ctx is not root:
        return click.UsageError(f"{name} goes before the command: {_in_front(name, typed)}", error.ctx)
    plain = {each.lstrip("-"): each for each in error.possibilities or ()}
    near = nearest(name.lstrip("-").replace("-", "_"), [each.replace("-", "_") for each in plain])
    guesses = [] if near is None else [plain[near.replace("_", "-")]]
    return click.NoSuchOption(name, possibilities=guesses, ctx=error.ctx)


def _in_front(name: str, typed: Sequence[str]) -> str:
    """The command as it should have been typed."""
    rest = list(typed)
    at = next((at for at, word in enumerate(rest) if word == name or word.startswith(f"{name}=")), None)
    if at is None:
        return f"prefd {name} …"
    takes_value = name == "--home" and "=" not in rest[at]
    moved = rest[at : at + (2 if takes_value else 1)]
    if name != "--home":
        return f"prefd {name}"
    return clip(shlex.join(["prefd", *moved, *rest[:at], *rest[at + len(moved) :]]), 300)
