from __future__ import annotations

import errno
import json
import os
import stat
import threading
from pathlib import Path

import pytest

from diffcl.access import audit
from diffcl.access.audit import DONE, REFUSED, TOLD, AuditTrail, read_audit
from diffcl.errors import UsageError


def write(trail: AuditTrail, number: int, user: str = "ann", action: str = "PUT /datastore/label") -> None:
    trail.write(user, "10.0.0.1", action, f"scan {number}", 200)


def test_what_is_written_is_read_in_order_through_files_of_a_bounded_size(tmp_path: Path) -> None:
    trail = AuditTrail(tmp_path / "audit", size=1000)
    for number in range(50):
        write(trail, number)
    files = list((tmp_path / "audit").iterdir())
    assert len(files) > 5
    assert all(file.stat().st_size < 1300 and stat.S_IMODE(file.stat().st_mode) == 0o600 for file in files)
    records = list(read_audit(tmp_path / "audit"))
    assert [record.scan for record in records] == [f"scan {number}" for number in range(50)]
    assert [record.when for record in records] == sorted(record.when for record in records)


def test_the_oldest_files_go_first(tmp_path: Path) -> None:
    trail = AuditTrail(tmp_path, size=200, kept={DONE: 3, REFUSED: 2})
    for number in range(40):
        write(trail, number)
    assert len(list(tmp_path.iterdir())) <= 3
    assert [record.scan for record in read_audit(tmp_path)][-1] == "scan 39"


def test_a_trail_goes_on_after_a_restart_and_a_line_cut_off(tmp_path: Path) -> None:
    write(AuditTrail(tmp_path), 1)
    with (tmp_path / "audit.jsonl").open("a") as file:
        file.write('{"when": "20')
    for number in (2, 3):
        write(AuditTrail(tmp_path), number)
    assert [record.scan for record in read_audit(tmp_path)] == ["scan 1", "scan 2", "scan 3"]


def test_a_disk_that_fills_in_a_line_costs_that_record_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trail, system = AuditTrail(tmp_path), os.write
    write(trail, 1)
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", lambda handle, line: system(handle, line[:9]))
        with pytest.raises(OSError, match="No space left"):
            write(trail, 2)
        patch.setattr(os, "write", _full)
        for number in (3, 4):
            with pytest.raises(OSError, match="No space left"):
                write(AuditTrail(tmp_path), number)  # also by a server that starts now
            with pytest.raises(OSError, match="No space left"):
                write(trail, number)
    write(trail, 5)
    write(trail, 6)
    assert [record.scan for record in read_audit(tmp_path)] == ["scan 1", "scan 5", "scan 6"]


def _full(*_: object) -> int:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_file_that_somebody_else_put_there_stops_nothing(tmp_path: Path) -> None:
    (tmp_path / "audit.1-copy.jsonl").write_text("{}\n")
    trail = AuditTrail(tmp_path, size=200, kept={DONE: 3, REFUSED: 2})
    for number in range(20):
        write(trail, number)
    assert [record.scan for record in read_audit(tmp_path)][-1] == "scan 19"


def test_records_are_told_apart_by_who_what_which_and_when(tmp_path: Path) -> None:
    trail = AuditTrail(tmp_path)
    write(trail, 1)
    write(trail, 2, user="bob")
    write(trail, 3, action="DELETE /datastore/label")
    today = next(read_audit(tmp_path)).when[:10]

    def found(**wanted: str) -> list[str]:
        return [record.scan[-1] for record in read_audit(tmp_path, **wanted)]

    assert found(user="bob") == ["2"]
    assert found(scan="scan 1") == ["1"]
    assert found(action="delete") == ["3"]
    assert found(since=today, until=today) == ["1", "2", "3"]
    assert found(since="2999") == found(until="2000") == []


def test_nothing_that_is_written_makes_a_line_of_its_own_or_a_long_one(tmp_path: Path) -> None:
    trail = AuditTrail(tmp_path)
    trail.write("ann\n{}", "x", "GET /a", "s" * 5000 + "\ud800", 200)
    [line] = (tmp_path / "audit.jsonl").read_text().splitlines()
    assert json.loads(line)["user"] == "ann\n{}"
    assert len(line) < 600


def test_many_threads_lose_nothing(tmp_path: Path) -> None:
    trail = AuditTrail(tmp_path, size=2000)
    threads = [
        threading.Thread(target=lambda at=at: [write(trail, at * 50 + i) for i in range(50)])
        for at in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(int(record.scan.split()[1]) for record in read_audit(tmp_path)) == list(range(200))


def test_a_folder_without_a_trail_says_so(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no audit trail"):
        list(read_audit(tmp_path))


def refuse(trail: AuditTrail, address: str = "10.6.6.6", action: str = "POST /auth/token") -> None:
    trail.write("", address, action, "", 401)


def test_refusals_push_out_nothing_that_was_done(tmp_path: Path) -> None:
    trail = AuditTrail(tmp_path, size=2000, kept={DONE: 3, REFUSED: 2})
    write(trail, 1)
    for number in range(500):
        refuse(trail, f"10.6.6.{number}", f"PUT /datastore/label{'x' * 150}")
    write(trail, 2)
    assert [record.scan for record in read_audit(tmp_path, user="ann")] == ["scan 1", "scan 2"]
    assert sum(file.stat().st_size for file in tmp_path.iterdir()) < 8000


def test_many_refusals_of_one_address_are_summed_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(audit.time, "monotonic", lambda: now)
    trail = AuditTrail(tmp_path)
    for _ in range(TOLD + 312):
        refuse(trail)
    refuse(trail, "10.6.6.7")
    trail.write("ann", "10.0.0.1", "DELETE /datastore/", "p07", 403)
    assert len(list(read_audit(tmp_path))) == TOLD + 2
    now += 601
    write(trail, 1)
    records = list(read_audit(tmp_path))
    assert [record.when for record in records] == sorted(record.when for record in records)
    [together] = [record for record in records if record.times > 1]
    assert (together.times, together.address, together.status) == (312, "10.6.6.6", 401)
    assert together.since == records[0].when
    assert {record.scan for record in records} == {"", "p07", "scan 1"}
    refuse(trail)  # ten further minutes have begun
    assert len(list(read_audit(tmp_path))) == len(records) + 1


def test_what_was_counted_is_written_at_the_end(tmp_path: Path) -> None:
    trail = AuditTrail(tmp_path)
    for _ in range(TOLD + 5):
        refuse(trail)
    trail.close()
    assert [record.times for record in read_audit(tmp_path)] == [1] * TOLD + [5]


def test_no_more_addresses_are_counted_than_are_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit, "KNOWN", 2)
    trail = AuditTrail(tmp_path)
    for _ in range(TOLD + 5):
        refuse(trail, "a")
    for address in "bc":
        refuse(trail, address)
    assert [record.times for record in read_audit(tmp_path) if record.address == "a"][-1] == 5
