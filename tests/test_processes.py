from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

from killed import wait_for_the_end_of

BUSY = "import re; re.fullmatch('(a|a)*', 'a' * 64 + 'b')"
"""Computes for ever, in one call that lets no other thread of its process run."""


def test_a_busy_child_ends_with_a_parent_that_is_killed() -> None:
    child = (
        "import os; from diffcl.processes import end_with_parent; end_with_parent(os.getppid());"
        f"print(os.getpid(), flush=True); {BUSY}"
    )
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    with subprocess.Popen([sys.executable, "-c", parent], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        number = int(process.stdout.readline())
        time.sleep(0.2)
        os.kill(number, 0)
        process.send_signal(signal.SIGKILL)
    wait_for_the_end_of(number)


def test_a_child_whose_parent_is_gone_does_not_begin() -> None:
    command = "from diffcl.processes import end_with_parent; end_with_parent(1 << 22); print('began')"
    done = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stdout == ""
    assert "has ended" in done.stderr


def test_a_child_whose_parent_lives_goes_on() -> None:
    command = (
        "import os; from diffcl.processes import end_with_parent; end_with_parent(os.getppid()); print(1)"
    )
    assert subprocess.run([sys.executable, "-c", command], capture_output=True, check=True).stdout == b"1\n"


def test_a_child_ends_with_the_other_end_of_its_input() -> None:
    child = "from diffcl.processes import end_with_input; end_with_input(0); import threading; threading.Event().wait()"
    with subprocess.Popen([sys.executable, "-c", child], stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        process.stdin.write(b"something")
        process.stdin.flush()
        time.sleep(0.3)
        assert process.poll() is None
        process.stdin.close()
        assert process.wait(20) == -signal.SIGKILL
