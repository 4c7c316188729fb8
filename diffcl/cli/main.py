"""The program `diffcl`: its commands, and how its errors end.

Exit codes: 0 for success, 1 for a failure on the data, 2 for wrong use, 130 when stopped with Ctrl-C.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import typer

from diffcl.cli import evaluate, models, phantom, predict, publish, serve, train
from diffcl.cli.console import errors
from diffcl.errors import DiffclError, UsageError

app = typer.Typer(
    name="diffcl",
    help="Segment medical scans with models that learn from a few labelled scans and all the unlabelled ones.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(predict.predict)
app.command()(train.train)
app.command()(evaluate.evaluate)
app.command()(publish.publish)
app.command()(models.models)
app.command()(phantom.phantom)
app.command()(serve.serve)


def run(arguments: Sequence[str] | None = None) -> int:
    """Run one command and give its exit code."""
    try:
        return _code(app(arguments, prog_name="diffcl"))
    except SystemExit as end:
        return _code(end.code)
    except KeyboardInterrupt:
        errors.print("Stopped.")
        return 130
    except DiffclError as error:
        errors.print(str(error), markup=False, highlight=False, soft_wrap=True)
        return 2 if isinstance(error, UsageError) else 1


def _code(code: object) -> int:
    return code if isinstance(code, int) else 0


def main() -> None:
    """Entry point of the console script."""
    sys.exit(run())


if __name__ == "__main__":
    main()
