"""Explains a command or an option that does not exist. click guesses by likeness alone: `--fresh` for `--force`."""

from __future__ import annotations

import os
import shlex
from collections.abc import Collection, Mapping, Sequence

import click

from prefd.daemon.text.pasted_text import DASHES, QUOTES
from prefd.daemon.text.wording import clip, find_nearest

INSTEAD: Mapping[str, str] = {
    **dict.fromkeys(("ls", "list", "ps", "queue"), "`prefd jobs` lists the jobs"),
    **dict.fromkeys(
        ("train", "dpo", "finetune", "lora"),
        "`prefd run SPEC` trains here and now, `prefd submit SPEC` hands it to the daemon",
    ),
    **dict.fromkeys(("kill", "abort"), "`prefd cancel ID` ends a job"),
    **dict.fromkeys(
        ("remove", "delete", "del"), "`prefd rm ID` removes a job that has ended, `prefd cancel ID` ends one"
    ),
    **dict.fromkeys(("gc", "tidy", "purge"), "`prefd clean` removes old jobs, `prefd cache prune` what was scored"),
    **dict.fromkeys(("set", "update", "change", "modify"), "`prefd edit ID` changes a job that waits"),
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


def make_command_error(ctx: click.Context, name: str, commands: Collection[str]) -> click.UsageError:
    """Makes the error for `prefd NAME`, with what may be meant."""
    if hint := INSTEAD.get(name.lower()):
        hint = hint.format(name.lower())
    elif match := find_nearest(name, commands):
        hint = f"did you mean `prefd {match}`?"
    else:
        hint = "`prefd --help` lists them"
    return click.UsageError(f"no such command: {clip(name)!r}; {hint}", ctx)


def make_option_error(root: click.Context, error: click.NoSuchOption, typed: Sequence[str]) -> click.ClickException:
    """Makes `error` anew with a better guess than click's; `typed` is what came behind `prefd`."""
    name = error.option_name
    root_options = {option for param in root.command.params if isinstance(param, click.Option) for option in param.opts}
    if name in root_options and error.ctx is not root:
        return click.UsageError(f"{name} goes before the command: {_move_to_front(name, typed)}", error.ctx)
    plain = {each.lstrip("-"): each for each in error.possibilities or ()}
    match = find_nearest(name.lstrip("-").replace("-", "_"), [each.replace("-", "_") for each in plain])
    guesses = [] if match is None else [plain[match.replace("_", "-")]]
    return click.NoSuchOption(name, possibilities=guesses, ctx=error.ctx)


def make_pasted_error(ctx: click.Context, typed: Sequence[str]) -> click.UsageError | None:
    """Makes the error for an option or a name as web pages show them, with a long dash or curly quotes; None without one."""
    for word in typed:
        if not word or word[0] not in DASHES + QUOTES or os.path.lexists(word):
            continue
        char = f"{word[0]} (U+{ord(word[0]):04X})"
        rest = word.lstrip(DASHES + "-")
        if word[0] in DASHES:
            plain = f"{'--' if len(rest) > 1 else '-'}{rest}"
            return click.UsageError(
                f"{clip(word)!r} begins with {char}, which is no dash of an option: type {clip(plain)}", ctx
            )
        return click.UsageError(
            f"""{clip(word)!r} begins with {char}, which no shell takes for a quote: type " or '""", ctx
        )
    return None


def _move_to_front(name: str, typed: Sequence[str]) -> str:
    """Writes the command as it should have been typed."""
    words = list(typed)
    index = next((index for index, word in enumerate(words) if word == name or word.startswith(f"{name}=")), None)
    if index is None:
        return f"prefd {name} …"
    takes_value = name == "--home" and "=" not in words[index]
    option_words = words[index : index + (2 if takes_value else 1)]
    if name != "--home":
        return f"prefd {name}"
    return clip(shlex.join(["prefd", *option_words, *words[:index], *words[index + len(option_words) :]]), 300)
