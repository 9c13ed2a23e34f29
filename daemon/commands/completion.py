"""`prefd completion` prints the script with which a shell completes prefd's commands."""

from __future__ import annotations

import click

from prefd.daemon.commands.shared.sections import HelpPlace, Section

PLACE = HelpPlace(Section.SHELL, 10)
SHELLS = ("bash", "zsh", "fish")
VARIABLE = "_PREFD_COMPLETE"  # click looks for it, by the program's name


@click.command(
    epilog="""\b
Examples:
  eval "$(prefd completion bash)"                                  in ~/.bashrc
  eval "$(prefd completion zsh)"                                   in ~/.zshrc, after compinit
  prefd completion fish > ~/.config/fish/completions/prefd.fish"""
)
@click.argument("shell", metavar="bash|zsh|fish", type=click.Choice(SHELLS))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the shell's completion script.

    It completes commands, options, job numbers, losses, groups, references and files.
    """
    from click.shell_completion import get_completion_class

    shell_class = get_completion_class(shell)
    assert shell_class is not None
    click.echo(shell_class(ctx.find_root().command, {}, "prefd", VARIABLE).source())
