from __future__ import annotations

import errno
import io
import logging

import pytest

from diffcl.web.log_lines import OneLine, readable_lines, tell_failures_in_one_line


def written(message: str, *args: object, exc_info: bool = False) -> list[str]:
    """The lines of a log to which one message was written."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(OneLine(logging.Formatter("[%(levelname)s] %(message)s")))
    logger = logging.Logger("test")
    logger.addHandler(handler)
    logger.error(message, *args, exc_info=exc_info)
    return stream.getvalue().splitlines()


def test_no_text_of_a_client_begins_a_line() -> None:
    forged = "a\n[ERROR] forged\r\x1b[2J\u2028b\ud800"
    assert written("image %s", forged) == ["[ERROR] image a\\x0a[ERROR] forged\\x0d\\x1b[2J\\x2028b\\xd800"]


def test_a_traceback_stays_in_the_file_and_is_not_shown() -> None:
    try:
        raise ValueError("in /home/ann/scans/p07.nii.gz\n[ERROR] forged")
    except ValueError:
        lines = written("error 12ab", exc_info=True)
    assert any("test_log_lines.py" in line for line in lines)
    assert list(readable_lines(lines)) == ["[ERROR] error 12ab"]


def test_what_a_program_printed_is_shown_without_its_traceback() -> None:
    printed = ["step 1", "Traceback (most recent call last):", '  File "/home/ann/a.py", line 3, in f', "    f()",
               "ValueError: /home/ann/x.py is wrong", "step 2"]  # fmt: skip
    assert list(readable_lines(printed)) == ["step 1", "ValueError: .../x.py is wrong", "step 2"]


def test_paths_and_ids_of_sessions_are_not_shown() -> None:
    line = "kept in /data/my scans/a.nii.gz and C:\\Users\\ann\\b.nii 6f1c1b9e-0000-4000-8000-0123456789ab, 3/4 of http://localhost:8000/ohif/x"
    assert list(readable_lines([line], {"/data/my scans": "<studies>"})) == [
        "kept in <studies>/a.nii.gz and .../b.nii <session>, 3/4 of http://localhost:8000/ohif/x"
    ]


def test_the_end_of_a_traceback_whose_head_is_not_there_is_not_shown() -> None:
    printed = [
        "    return f()",
        "           ^^^",
        '  File "/home/ann/a.py", line 3, in f',
        "ValueError: wrong",
    ]
    assert list(readable_lines(printed)) == ["ValueError: wrong"]


def test_a_log_that_cannot_be_written_is_told_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    class Full(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            try:
                raise OSError(errno.ENOSPC, "No space left\non device")
            except OSError:
                self.handleError(record)

    handler = Full()
    tell_failures_in_one_line(handler)
    handler.handle(logging.makeLogRecord({"name": "diffcl", "levelname": "INFO", "msg": "scan p07"}))
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert told.startswith("A line of the log is lost ([Errno 28] No space left\\x0aon device): diffcl INFO")
