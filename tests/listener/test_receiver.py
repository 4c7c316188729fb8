from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from dicom_forms import bomb

from diffcl.io.dicom import data_set
from diffcl.listener.receiver import NOT_UNDERSTOOD, Receiver

DEFLATED = b"1.2.840.10008.1.2.1.99"


class PackedImage:
    """A C-STORE whose image is packed as a whole, to some kilobytes."""

    def encoded_dataset(self) -> bytes:
        meta = b"\x02\x00\x10\x00UI" + len(DEFLATED).to_bytes(2, "little") + DEFLATED
        length = b"\x02\x00\x00\x00UL\x04\x00" + len(meta).to_bytes(4, "little")
        return bytes(128) + b"DICM" + length + meta + bomb(8 << 20)

    @property
    def dataset(self) -> Any:
        pytest.fail("the image was unpacked")


def test_an_image_that_unpacks_to_far_more_than_it_is_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data_set, "ALWAYS", 1 << 20)
    event: Any = PackedImage()
    receiver: Any = SimpleNamespace()  # nothing of it is needed before the image is understood
    assert Receiver._store(receiver, event) == NOT_UNDERSTOOD  # noqa: SLF001
