"""Options of a request, in the form in which Slicer, OHIF and scripts send them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import SimpleITK as sitk
from fastapi import HTTPException, Request
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from diffcl.access.roles import Role
from diffcl.errors import UsageError
from diffcl.web.answer_files import write_answer
from diffcl.web.pages.rendering import may

PROPOSED = "original"
"""The tag of a label by a model; all others are given to labels of people."""

NETWORKS = ("ensemble", "cs", "ds")

OWN_SETTINGS = ("model", "method", "bundle_path", "strategy")
"""Options of a task that no client sets: its address says them, or they would name a folder with programs."""


class Options(BaseModel):
    """Options of a request; keys that are none are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    @model_validator(mode="before")
    @classmethod
    def _first_of_a_list(cls, content: dict[str, Any]) -> dict[str, Any]:
        """The viewers send a list of choices for its first, and an empty value for the default."""
        flat = {
            key: value[0] if isinstance(value, list) and value else value for key, value in content.items()
        }
        return {key: value for key, value in flat.items() if value not in (None, "", [])}


class InferOptions(Options):
    """What a client may ask of an inference.

    Attributes:
        networks: Who is asked.
        seed: Of the noise from which DS starts; the recipe's where none is given.
        check_here: Whether the label has one more segment, which marks where to look. Never in OHIF, which would
            show the marked voxels as empty.
        result_extension: File format of the answer.
        result_dtype: Voxel type of the answer.
        result_compress: Whether its voxels are compressed.
        restore_label_idx: Sent by OHIF alone; values are contiguous with or without it.
    """

    networks: Literal["ensemble", "cs", "ds"] = "ensemble"
    seed: Annotated[int, Field(ge=0, lt=2**63)] | None = None
    check_here: bool = False
    result_extension: Literal[".nrrd", ".nii.gz", ".nii", ".mha"] = ".nii.gz"
    result_dtype: Literal["uint8", "int16", "uint16", "int32", "uint32", "float32", "float64"] = "uint8"
    result_compress: bool = True
    restore_label_idx: bool = False

    def write(self, image: sitk.Image) -> Path:
        """Write an answer as the client wants it into a temporary file, which MONAI Label removes once it is sent.

        Raises:
            OutputError: If there is no space for it.
        """
        return write_answer(image, self.result_extension, self.result_dtype, compress=self.result_compress)

    @model_validator(mode="before")
    @classmethod
    def _no_marks_in_ohif(cls, content: dict[str, Any]) -> dict[str, Any]:
        return {**content, "check_here": False} if "restore_label_idx" in content else content


Chosen = TypeVar("Chosen", bound=Options)


def check_options(kind: type[Chosen], request: dict[str, Any]) -> Chosen:
    """Check the options of a request.

    >>> check_options(InferOptions, {"networks": ["cs", "ds"], "image": "case1"}).networks
    'cs'

    Raises:
        UsageError: Naming the option and what is wrong with it.
    """
    try:
        return kind.model_validate(request)
    except ValidationError as error:
        first = error.errors()[0]
        what = f"{str(first['input'])[:40]!r}: {first['msg']}"
        raise UsageError(f"option {first['loc'][0]}", what) from error


def check_tag(options: Mapping[str, Any]) -> None:
    """Check that what a model answers takes no person's label away.

    Raises:
        HTTPException: 422 for a tag of people's labels.
    """
    if (options.get("label_tag") or PROPOSED) != PROPOSED:
        raise HTTPException(
            422, f"label_tag: a model's label is {PROPOSED!r}. Submit yours with PUT /datastore/label"
        )


def keeps_label(options: Mapping[str, Any]) -> bool:
    """Whether what a model answers is to be kept as its label.

    >>> keeps_label({"save_label": "True"}), keeps_label({"save_label": 0}), keeps_label({})
    (True, False, False)
    """
    return str(options.get("save_label", False)).lower() in ("true", "1")


def infer_options(request: Request, params: str) -> dict[str, Any]:
    """The options of a request for an inference, from its `params`.

    Raises:
        HTTPException: 422 for a tag of people's labels, 403 for a label that a reader would keep.
    """
    options: dict[str, Any] = json.loads(params or "{}")
    check_tag(options)
    if keeps_label(options) and not may(request, Role.ANNOTATOR):
        raise HTTPException(403, f"save_label: keeping a label takes the role {Role.ANNOTATOR.word}")
    return options


def check_task(params: dict[str, Any] | None) -> None:
    """Check what a client asks of a task that runs in a process of its own.

    Raises:
        HTTPException: 422 for what only the server may say.
    """
    for given in [params or {}, *(one for one in (params or {}).values() if isinstance(one, dict))]:
        check_tag(given)
        own = [key for key in OWN_SETTINGS if key in given]
        if own:
            raise HTTPException(422, f"{own[0]}: is not for params")
        gpus = given.get("gpus")
        if gpus is not None and not (isinstance(gpus, str) and re.fullmatch(r"[\w,-]{0,64}", gpus)):
            raise HTTPException(422, "gpus: numbers with commas between them, or all")


def comma_separated(text: str) -> list[str]:
    """The words between the commas of a setting.

    >>> comma_separated("a, b"), comma_separated("")
    (['a', 'b'], [])
    """
    return [word.strip() for word in text.split(",") if word.strip()]
