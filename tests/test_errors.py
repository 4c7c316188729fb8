from __future__ import annotations

import pickle

import pytest

from diffcl.errors import DiffclError, ScanError, failure_sentence


def test_an_expected_error_says_its_own_sentence(caplog: pytest.LogCaptureFixture) -> None:
    error = ScanError("a.nii.gz", "not an image", "Give another")
    assert failure_sentence("anything", error) == "a.nii.gz: not an image. Give another"
    assert caplog.records == []


@pytest.mark.parametrize("kind", [RuntimeError, MemoryError, TypeError, KeyError, RecursionError, OSError])
def test_a_fault_of_the_program_is_named_and_its_traceback_is_in_the_log(
    kind: type[Exception], caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> None:
        raise kind("inside /home/ann\nof ITK")

    with pytest.raises(kind) as caught:
        fail()
    sentence = failure_sentence("a.nii.gz", caught.value)
    assert sentence == f"a.nii.gz: could not be used ({kind.__name__}); see the log"
    assert "in fail" in caplog.text
    assert "of ITK" in caplog.text


def test_what_the_system_refuses_is_said_in_its_words(caplog: pytest.LogCaptureFixture) -> None:
    assert failure_sentence("a.nii.gz", OSError(5, "Input/output error")) == (
        "a.nii.gz: could not be used (Input/output error)"
    )
    assert caplog.records == []


def test_an_error_is_one_line_and_survives_a_pickle() -> None:
    error = ScanError("a\nb", "is\n bad", "Mend it")
    assert str(error) == "a b: is bad. Mend it"
    again = pickle.loads(pickle.dumps(error))  # noqa: S301
    assert isinstance(again, DiffclError)
    assert str(again) == str(error)
