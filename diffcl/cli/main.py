"""The program `diffcl`: its commands, and how its errors end.

Exit codes: 0 for success, 1 for a failure on the data, 2 for wrong use, 130 when stopped with Ctrl-C.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from diffcl.cli import (
    audit,
    complete,
    evaluate,
    export,
    labels,
    listen,
    models,
    phantom,
    plan,
    predict,
    prepare,
    publish,
    report,
    serve,
    train,
    users,
)
from diffcl.cli.console import say, warn
from diffcl.errors import DiffclError, UsageError
from diffcl.version import version

STOPPED = 130
"""Exit code of a program stopped with Ctrl-C, as shells have it."""

app = typer.Typer(
    name="diffcl",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (
    predict.predict,
    complete.complete,
    serve.serve,
    listen.listen,
    prepare.prepare,
    train.train,
    evaluate.evaluate,
    labels.labels,
    publish.publish,
    report.report,
    export.export,
    phantom.phantom,
    plan.plan,
    audit.audit,
):
    app.command()(command)
app.add_typer(models.app, name="models")
app.add_typer(users.app, name="users")


def _say_version(wanted: bool) -> None:
    if wanted:
        say(f"diffcl {version()}")
        raise typer.Exit


@app.callback()
def diffcl(
    show_version: Annotated[
        bool, typer.Option("--version", callback=_say_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Segment medical scans with models that learn from a few labelled scans and all the unlabelled ones.

    - `diffcl phantom trial/` makes synthetic scans to try things on.
    - `diffcl predict trial/images/*.nii.gz --model hippocampus --out labels/` segments them.
    - `diffcl evaluate labels/ trial/labels/` says how well.
    - `diffcl serve` lets 3D Slicer and OHIF ask.

    `diffcl COMMAND --help` has more examples.
    """


def run(arguments: Sequence[str] | None = None) -> int:
    """Run one command and give its exit code.

    Args:
        arguments: Without the program's name; those of the process by default.
    """
    try:
        app(arguments, prog_name="diffcl")
    except SystemExit as end:
        if end.code == STOPPED:
            warn("Stopped.")
        return end.code if isinstance(end.code, int) else 0
    except DiffclError as error:
        warn(str(error))
        return 2 if isinstance(error, UsageError) else 1
    return 0


def main() -> None:
    """Entry point of the console script."""
    sys.exit(run())


if __name__ == "__main__":
    main()
