"""`diffcl users`: who may log in to a server, and as what."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from diffcl.access.roles import WORDS, Role
from diffcl.cli.console import say, say_json

app = typer.Typer(no_args_is_help=True)

FileOption = Annotated[
    Path, typer.Option("--file", help="The file of users, as given to diffcl serve --users.")
]
NameArgument = Annotated[str, typer.Argument(help="Name of the user.")]
DEFAULT = Path("users.json")


@app.callback()
def users() -> None:
    """Say who may log in to a server.

    The password is asked for, or read from standard input; it is never an argument, which others on the machine see.

    - `diffcl users add ann --role annotator`
    - `diffcl users passwd ann`
    - `diffcl users list`
    - `diffcl serve --users users.json ...`
    """


@app.command()
def add(
    name: NameArgument,
    role: Annotated[
        str, typer.Option(help=f"What the user may do, each more than the one before: {', '.join(WORDS)}.")
    ] = "annotator",
    file: FileOption = DEFAULT,
) -> None:
    """Add a user."""
    from diffcl.access.users import UserFile

    if role not in WORDS:
        raise typer.BadParameter(f"{role!r}: choose one of {', '.join(WORDS)}", param_hint="--role")
    UserFile(file).add(name, Role(WORDS.index(role) + 1), _password())
    say(f"{name}: {role}, in {file}")


@app.command()
def passwd(name: NameArgument, file: FileOption = DEFAULT) -> None:
    """Change a password. Whoever is logged in with the former one has to log in again."""
    from diffcl.access.users import UserFile

    UserFile(file).set_password(name, _password())
    say(f"{name}: new password")


@app.command()
def remove(name: NameArgument, file: FileOption = DEFAULT) -> None:
    """Remove a user, who is logged out at once."""
    from diffcl.access.users import UserFile

    UserFile(file).remove(name)
    say(f"{name}: removed")


@app.command("list")
def list_users(
    file: FileOption = DEFAULT,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON list.")] = False,
) -> None:
    """List the users and their roles."""
    from diffcl.access.users import UserFile

    accounts = UserFile(file).accounts()
    found = [{"name": name, "role": one.user.role.word} for name, one in sorted(accounts.items())]
    if as_json:
        say_json(list(found))
    for one in [] if as_json else found:
        say(f"{one['name']}  {one['role']}")


def _password() -> str:
    """The password, asked for twice in a terminal, else the first line of standard input."""
    if sys.stdin.isatty():
        return str(typer.prompt("Password", hide_input=True, confirmation_prompt=True, err=True))
    return sys.stdin.readline().rstrip("\r\n")
