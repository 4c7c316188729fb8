from __future__ import annotations

import json
import stat
import time
from pathlib import Path

import jwt
import pytest
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from diffcl.access import passwords, throttle, tokens
from diffcl.access.passwords import hash_password, is_password
from diffcl.access.roles import Role, User
from diffcl.access.tokens import LocalUsers, TooManyError, WrongPasswordError
from diffcl.access.users import UserFile
from diffcl.errors import DataError, UsageError

WORD = "correct horse battery"


@pytest.fixture(autouse=True)
def cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    """Passwords that cost little."""
    monkeypatch.setattr(passwords, "COST", (1 << 10, 8, 1))


@pytest.fixture
def file(tmp_path: Path) -> UserFile:
    """A file with an annotator."""
    made = UserFile(tmp_path / "users.json")
    made.add("ann", Role.ANNOTATOR, WORD)
    return made


@pytest.fixture
def users(file: UserFile) -> LocalUsers:
    return LocalUsers(file)


def test_of_a_password_nothing_is_kept_that_gives_it_away(file: UserFile) -> None:
    assert WORD not in file.path.read_text()
    assert stat.S_IMODE(file.path.stat().st_mode) == 0o600
    assert hash_password(WORD) != hash_password(WORD)
    assert is_password(WORD, hash_password(WORD))
    assert not is_password(WORD + " ", hash_password(WORD))


def test_the_cost_of_a_password_is_that_of_the_source() -> None:
    assert tuple(map(int, hash_password(WORD).split("$")[1:4])) == passwords.COST


def test_the_file_is_read_by_another_and_changes_count_at_once(file: UserFile) -> None:
    other = UserFile(file.path)
    assert other.user("ann", WORD) == User("ann", Role.ANNOTATOR)
    file.add("bob", Role.ADMIN, "another password")
    assert other.user("bob", "another password") == User("bob", Role.ADMIN)
    file.set_password("ann", "a new password")
    assert other.user("ann", WORD) is None
    assert other.user("ann", "a new password") == User("ann", Role.ANNOTATOR)
    file.remove("ann")
    assert other.user("ann", "a new password") is None


@pytest.mark.parametrize("name", ["", "a b", "../x", "a/b", "a\n", "a" * 65, "-a", "é"])
def test_a_name_that_is_none_is_refused(name: str, file: UserFile) -> None:
    with pytest.raises(UsageError, match="not a name"):
        file.add(name, Role.READER, WORD)


@pytest.mark.parametrize("word", ["", "short", "a" * 2000])
def test_a_password_of_no_use_is_refused(word: str, file: UserFile) -> None:
    with pytest.raises(UsageError, match="password"):
        file.add("bob", Role.READER, word)
    assert list(file.accounts()) == ["ann"]


def test_nobody_is_added_twice_or_removed_who_is_not_there(file: UserFile) -> None:
    with pytest.raises(UsageError, match="there is one already"):
        file.add("ann", Role.ADMIN, WORD)
    with pytest.raises(UsageError, match="Known: ann"):
        file.remove("bob")


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        '{"users": {"a": {}}}',
        '{"users": {"a": {"role": "god", "password": ""}}}',
        '{"users": {"a": {"role": "admin", "password": "plain"}}}',
    ],
)
def test_a_damaged_file_lets_nobody_in(content: str, file: UserFile) -> None:
    file.path.write_text(content)
    with pytest.raises(DataError, match="damaged"):
        file.user("ann", WORD)


def test_a_file_that_others_may_read_is_refused(file: UserFile) -> None:
    file.path.chmod(0o640)
    with pytest.raises(DataError, match="chmod 600"):
        file.accounts()


def test_a_token_stands_for_its_user(users: LocalUsers, file: UserFile) -> None:
    token = users.log_in("ann", WORD)
    assert users.user(token) == User("ann", Role.ANNOTATOR)
    assert LocalUsers(file).user(token) == User("ann", Role.ANNOTATOR)  # after a restart
    assert stat.S_IMODE((file.path.parent / "users.json.secret").stat().st_mode) == 0o600
    assert WORD not in json.dumps(jwt.decode(token, options={"verify_signature": False}))


def test_a_token_ends_with_the_password_and_with_the_user(users: LocalUsers, file: UserFile) -> None:
    token = users.log_in("ann", WORD)
    file.set_password("ann", "a new password")
    assert users.user(token) is None
    token = users.log_in("ann", "a new password")
    file.remove("ann")
    assert users.user(token) is None
    file.add("ann", Role.ADMIN, "a new password")  # somebody else of that name
    assert users.user(token) is None


def test_tokens_that_are_forged_or_over_are_worth_nothing(users: LocalUsers, file: UserFile) -> None:
    sound = users.log_in("ann", WORD)
    claims = jwt.decode(sound, options={"verify_signature": False})
    secret = (file.path.parent / "users.json.secret").read_bytes()
    assert users.user(jwt.encode(claims, secret, "HS256"))
    forged = [
        jwt.encode(claims, "another secret that is long enough", "HS256"),
        jwt.encode(claims, None, "none"),
        jwt.encode({**claims, "exp": int(time.time()) - 1}, secret, "HS256"),
        jwt.encode({key: value for key, value in claims.items() if key != "exp"}, secret, "HS256"),
        jwt.encode({**claims, "key": "0" * 16}, secret, "HS256"),
        jwt.encode({**claims, "sub": "bob"}, secret, "HS256"),
        sound[:-2], sound + "a", "", "a.b.c", "é",
    ]  # fmt: skip
    assert [users.user(token) for token in forged] == [None] * len(forged)


def test_whoever_guesses_waits_longer_and_longer_and_others_do_not(
    users: LocalUsers, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1000.0]
    monkeypatch.setattr(throttle.time, "monotonic", lambda: now[0])
    for _ in range(throttle.FREE[0]):
        with pytest.raises(WrongPasswordError):
            users.log_in("ann", "wrong", "10.0.0.1")
    with pytest.raises(TooManyError) as caught:
        users.log_in("ann", WORD, "10.0.0.1")
    assert caught.value.seconds == 2
    assert users.log_in("ann", WORD, "10.0.0.2")
    now[0] += 2
    with pytest.raises(WrongPasswordError):
        users.log_in("ann", "wrong", "10.0.0.1")
    with pytest.raises(TooManyError) as caught:
        users.log_in("ann", WORD, "10.0.0.1")
    assert caught.value.seconds == 4
    now[0] += 4
    assert users.log_in("ann", WORD, "10.0.0.1")


def test_guessing_through_many_names_is_guessing_too(users: LocalUsers) -> None:
    for number in range(throttle.FREE[1]):
        with pytest.raises(WrongPasswordError):
            users.log_in(f"user{number}", "wrong", "10.0.0.1")
    with pytest.raises(TooManyError):
        users.log_in("ann", WORD, "10.0.0.1")


def test_a_wrong_name_takes_as_much_work_as_a_wrong_password(
    file: UserFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    file.set_password("ann", WORD)
    passwords._nobody()  # noqa: SLF001
    work = list[tuple[int, ...]]()

    def watched(salt: bytes, length: int, n: int, r: int, p: int) -> Scrypt:
        work.append((len(salt), length, n, r, p))
        return Scrypt(salt, length, n, r, p)

    monkeypatch.setattr(passwords, "Scrypt", watched)
    for name in ("ann", "nobody"):
        assert file.user(name, "a wrong password") is None
    known, unknown = work
    assert known == unknown


def test_a_server_for_nobody_does_not_start(file: UserFile) -> None:
    file.remove("ann")
    with pytest.raises(DataError, match="nobody is in it"):
        tokens.LocalUsers(file)
