from __future__ import annotations

from typing import Any

import pytest

from diffcl.errors import UsageError
from diffcl.web.options import InferOptions, check_options


def test_what_slicer_sends_is_understood() -> None:
    options = check_options(
        InferOptions,
        {
            "networks": "cs",
            "seed": 0,
            "client_id": "user-1",
            "result_extension": ".nrrd",
            "result_dtype": "uint8",
        },
    )
    assert options == InferOptions(networks="cs", seed=0, result_extension=".nrrd", result_dtype="uint8")


def test_what_ohif_sends_is_understood() -> None:
    options = check_options(
        InferOptions,
        {
            "result_extension": ".nrrd",
            "result_dtype": "uint8",
            "result_compress": False,
            "restore_label_idx": False,
            "check_here": True,
        },
    )
    assert not options.check_here  # it shows no segment that the model does not have
    assert options.result_extension == ".nrrd"
    assert not options.result_compress


def test_a_list_of_choices_means_its_first() -> None:
    assert check_options(InferOptions, {"networks": ["ds", "cs"]}).networks == "ds"


@pytest.mark.parametrize("nothing", [None, "", []])
def test_an_empty_option_means_its_default(nothing: Any) -> None:
    assert check_options(InferOptions, {"networks": nothing, "seed": nothing}) == InferOptions()


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("networks", "both"),
        ("networks", 7),
        ("networks", {"cs": 1}),
        ("seed", -1),
        ("seed", 2**63),
        ("seed", "many"),
        ("seed", float("nan")),
        ("result_extension", ".exe"),
        ("result_extension", "../../evil.nrrd"),
        ("result_dtype", "object"),
        ("result_compress", "perhaps"),
    ],
)
def test_an_impossible_option_is_named_in_one_line(option: str, value: Any) -> None:
    with pytest.raises(UsageError, match=f"^option {option}: ") as caught:
        check_options(InferOptions, {option: value})
    assert "\n" not in str(caught.value)
