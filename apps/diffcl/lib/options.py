"""Options of an inference request, in the form in which Slicer, OHIF and scripts send them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from diffcl.errors import UsageError

NETWORKS = ("ensemble", "cs", "ds")


class InferOptions(BaseModel):
    """What a client may ask of an inference. Other keys of a request are ignored.

    Attributes:
        networks: Who is asked.
        seed: Of the noise from which DS starts; the recipe's where none is given.
        result_extension: File format of the answer.
        result_dtype: Voxel type of the answer.
        result_compress: Whether its voxels are compressed.
        restore_label_idx: Accepted for the viewers' sake: values are contiguous with or without it.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    networks: Literal["ensemble", "cs", "ds"] = "ensemble"
    seed: Annotated[int, Field(ge=0, lt=2**63)] | None = None
    result_extension: Literal[".nrrd", ".nii.gz", ".nii", ".mha"] = ".nii.gz"
    result_dtype: Literal["uint8", "int16", "uint16", "int32", "uint32", "float32", "float64"] = "uint8"
    result_compress: bool = True
    restore_label_idx: bool = False

    @model_validator(mode="before")
    @classmethod
    def _first_of_a_list(cls, content: dict[str, Any]) -> dict[str, Any]:
        """The viewers send a list of choices for its first, and an empty value for the default."""
        flat = {
            key: value[0] if isinstance(value, list) and value else value for key, value in content.items()
        }
        return {key: value for key, value in flat.items() if value not in (None, "", [])}


def read_options(request: dict[str, Any]) -> InferOptions:
    """Check the options of a request.

    >>> read_options({"networks": ["cs", "ds"], "image": "case1"}).networks
    'cs'

    Raises:
        UsageError: Naming the option and what is wrong with it.
    """
    try:
        return InferOptions.model_validate(request)
    except ValidationError as error:
        first = error.errors()[0]
        raise UsageError(
            f"option {first['loc'][0]}", f"{str(first['input'])[:40]!r}: {first['msg']}"
        ) from error
