from __future__ import annotations

from diffcl.resources import app_folder, models_folder


def test_a_checkout_ships_its_own_app() -> None:
    assert (app_folder() / "main.py").is_file()


def test_every_shipped_model_names_its_current_version() -> None:
    homes = [entry for entry in models_folder().iterdir() if entry.is_dir()]
    assert homes
    for home in homes:
        version = (home / "current").read_text(encoding="utf-8").strip()
        assert (home / version / "weights.safetensors").is_file()
