"""Recipes as files: those that come with the package, and those of a user."""

from __future__ import annotations

import sys
from importlib import resources
from pathlib import Path

from diffcl.errors import RecipeError
from diffcl.recipe.recipe import Recipe, parse_recipe

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


def shipped_recipes() -> list[str]:
    """Names of the recipes that come with the package."""
    folder = resources.files("diffcl") / "recipes"
    return sorted(Path(entry.name).stem for entry in folder.iterdir() if entry.name.endswith(".toml"))


def load_recipe(name_or_file: str | Path) -> Recipe:
    """Read a recipe that comes with the package, by its name, or a TOML file.

    Raises:
        RecipeError: If there is none of that name, or the file is not a valid recipe.
    """
    if str(name_or_file) in shipped_recipes():
        text = (resources.files("diffcl") / "recipes" / f"{name_or_file}.toml").read_text(encoding="utf-8")
    else:
        try:
            text = Path(name_or_file).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            known = ", ".join(shipped_recipes())
            raise RecipeError(
                name_or_file, "no such recipe", f"Give a TOML file or one of: {known}"
            ) from error
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise RecipeError(name_or_file, f"not valid TOML ({error})", "Correct the file") from error
    return parse_recipe(content, name_or_file)
