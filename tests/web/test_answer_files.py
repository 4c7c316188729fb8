from __future__ import annotations

import shutil
import stat
from pathlib import Path

import pytest
import SimpleITK as sitk
from synthetic import make_label, same_place

from diffcl.errors import OutputError
from diffcl.web.answer_files import PIXELS, answers_folder, write_answer


@pytest.mark.parametrize("dtype", sorted(PIXELS))
@pytest.mark.parametrize("extension", [".nii.gz", ".nrrd"])
def test_an_answer_lies_where_its_image_does_in_the_type_that_was_asked_for(
    extension: str, dtype: str
) -> None:
    image = make_label("oblique")
    file = write_answer(image, extension, dtype, compress=True)
    found = sitk.ReadImage(file)
    file.unlink()
    assert file.name.endswith(extension)
    assert found.GetPixelID() == PIXELS[dtype]
    assert same_place(found, image)
    assert (sitk.GetArrayViewFromImage(found) == sitk.GetArrayViewFromImage(image)).all()


def test_answers_are_the_process_s_alone_also_after_its_folder_was_tidied_away() -> None:
    shutil.rmtree(answers_folder())
    file = write_answer(make_label("oblique"), ".nii.gz", "uint8", compress=False)
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    file.unlink()


def test_a_full_disk_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: sitk.Image, path: Path, **__: object) -> None:
        raise OutputError(path, "cannot be written (No space left on device)")

    monkeypatch.setattr("diffcl.web.answer_files.write_image", full)
    with pytest.raises(OutputError, match="the answer cannot be written"):
        write_answer(make_label("oblique"), ".nii.gz", "uint8", compress=False)
