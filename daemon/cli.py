"""The `prefd` command: a click group of the commands that are found in the files of `commands/`.

`prefd --help` imports them all for their one-line help, so those files keep what is heavy (mlx, zarr, httpx, pydantic,
matplotlib) inside their functions; tests/daemon/test_cli.py holds them to it.
"""

from __future__ import annotations

import sys
import textwrap
from typing import Any

import click

from prefd.daemon import commands
from prefd.daemon.commands.shared.command_folder import CommandFolder
from prefd.daemon.commands.shared.errors import Exit, explain_error
from prefd.daemon.commands.shared.mistyped import make_command_error, make_option_error, make_pasted_error
from prefd.daemon.commands.shared.options import TIMING, warn_of_unknown_zone
from prefd.daemon.home.layout import Home
from prefd.daemon.machine.streams import prepare_streams
from prefd.daemon.timing import USUAL, Timing

COMMANDS = CommandFolder(commands)
TYPED = "prefd.daemon.typed"
"""In click's context: what came behind `prefd`."""


class Prefd(click.Group):
    """Finds each command in `prefd.daemon.commands`, and turns expected errors into a message and an exit code."""

    def main(self, *args: Any, **settings: Any) -> Any:
        """Runs the program, with streams that no locale, no closed pipe and no missing descriptor makes fail."""
        prepare_streams()
        try:
            return super().main(*args, **settings)
        except OSError as error:  # of what click prints itself, such as help
            failure = explain_error(error)
            if failure is None:
                raise
            failure.show()
            sys.exit(failure.exit_code)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Lists the commands in the order of the sections."""
        return [name for names in COMMANDS.list_sections().values() for name in names]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Finds the command; None where there is none of that name."""
        return COMMANDS.find(cmd_name)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes the help's list of commands, a part for each section."""
        for section, names in COMMANDS.list_sections().items():
            each_command = [(name, self.get_command(ctx, name)) for name in names]
            with formatter.section(section):
                formatter.write_dl(
                    [(name, command.get_short_help_str(70)) for name, command in each_command if command]
                )

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Finds the command that was typed. Raises click's error with a suggestion where there is none."""
        if args and not args[0].startswith("-") and not ctx.resilient_parsing and not COMMANDS.find(args[0]):
            raise make_command_error(ctx, args[0], self.list_commands(ctx))
        return super().resolve_command(ctx, args)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Keeps what was typed, so that an unknown option can be explained, and parses it."""
        ctx.meta[TYPED] = tuple(args)
        if not ctx.resilient_parsing and (error := make_pasted_error(ctx, args)):
            raise error
        return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Runs the command, and turns an expected error into a message and an exit code."""
        try:
            return super().invoke(ctx)
        except click.NoSuchOption as error:
            raise make_option_error(ctx, error, ctx.meta[TYPED]) from None
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except BrokenPipeError:  # of a command that goes on until its reader has had enough
            return ctx.exit(Exit.OK)
        except Exception as error:
            failure = explain_error(error)
            if failure is None:
                raise
            raise failure from error


@click.group(
    cls=Prefd,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=f"""\b
Examples:
  prefd init                      make a home
  prefd start --detach            start the daemon there
  prefd submit ipo.yaml           hand it a job (or drop the file into jobs/)
  prefd watch                     follow the job to its end
  prefd run ipo.yaml              the same job, with no daemon

\b
{textwrap.fill(f"Exit codes: {Exit.list_all()}.", 72, subsequent_indent=" " * 12)}""",
)
@click.option("--home", metavar="FOLDER", envvar="PREFD_HOME", help="Where prefd keeps its jobs, runs and cache.")
@click.version_option(package_name="prefd", prog_name="prefd")
@click.pass_context
def cli(ctx: click.Context, home: str | None) -> None:
    """A preference-tuning daemon for MLX.

    It scores every pair once with the frozen reference, keeps the log-probabilities, and trains as many policies as
    you like from them. A job is a spec file; `prefd losses` lists what it may minimise.
    """
    ctx.meta[TIMING] = ctx.obj if isinstance(ctx.obj, Timing) else USUAL  # tests hand in other waits
    ctx.obj = Home.locate(home)
    warn_of_unknown_zone()


if __name__ == "__main__":
    cli(prog_name="prefd")
