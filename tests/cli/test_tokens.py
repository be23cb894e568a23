"""Local services share one token, in whatever order they start and end; what is told goes before what is found."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from scaler_trio.cli.tokens import NoToken, connecting_token, listening_token, told_token
from scaler_trio.cli.worker_manager import parse_capabilities
from scaler_trio.config.tokens import TokenError, find_token, runtime_directory
from scaler_trio.net import Address

LOCAL = Address("127.0.0.1", 2345)
REMOTE = Address("10.0.0.1", 2345)


@pytest.fixture(autouse=True)
def _private(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.delenv("SCALER_TOKEN", raising=False)


def files() -> list[str]:
    return sorted(path.name for path in runtime_directory().iterdir())


def test_local_services_share_a_token_until_the_last_of_them_ends() -> None:
    with listening_token(LOCAL, None) as first:
        with listening_token(Address("127.0.0.1", 1), None) as second:
            assert first.token == second.token
        with listening_token(Address("127.0.0.1", 1), None) as restarted:
            assert restarted.token == first.token
    assert files() == []
    with listening_token(LOCAL, None) as later:
        assert later.token != first.token


def test_a_service_leaves_its_token_for_clients_of_its_user_while_it_lives() -> None:
    with listening_token(LOCAL, None) as held:
        assert find_token(str(LOCAL)) is None
        held.leave(LOCAL)
        assert find_token(str(LOCAL)) == find_token("tcp://localhost:2345") == held.token
        assert connecting_token(LOCAL, None) == held.token
    assert find_token(str(LOCAL)) is None


def test_a_token_that_was_told_goes_before_all_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "told"
    path.write_text("  " + "t" * 32 + "\n")
    monkeypatch.setenv("SCALER_TOKEN", "e" * 32)
    assert told_token(path) == b"t" * 32
    assert told_token(None) == b"e" * 32
    with listening_token(REMOTE, path) as held:
        assert held.token == b"t" * 32
    assert connecting_token(REMOTE, None) == b"e" * 32
    assert files() == []


def test_beyond_this_machine_a_token_is_needed() -> None:
    with pytest.raises(NoToken, match="whoever connects may run code here"), listening_token(REMOTE, None):
        pass
    with pytest.raises(NoToken, match="--token-file or SCALER_TOKEN"):
        connecting_token(REMOTE, None)


def test_a_runtime_directory_that_others_can_write_to_is_refused() -> None:
    runtime_directory().chmod(0o777)
    with pytest.raises(TokenError, match="open to other users"), listening_token(LOCAL, None):
        pass


def test_a_token_is_readable_by_its_user_alone() -> None:
    with listening_token(LOCAL, None) as held:
        held.leave(LOCAL)
        assert {oct(path.stat().st_mode & 0o777) for path in runtime_directory().iterdir()} == {"0o600"}
        assert repr(held.token) not in repr(held)
    assert os.listdir(runtime_directory()) == []


@pytest.mark.parametrize(
    ("text", "found"),
    [("", ()), ("gpu", (("gpu", -1),)), (" gpu = 2 , fast,", (("gpu", 2), ("fast", -1))), ("a=1,a=2", (("a", 2),))],
)
def test_capabilities_are_names_with_or_without_amounts(text: str, found: tuple[tuple[str, int], ...]) -> None:
    assert parse_capabilities(text) == found


@pytest.mark.parametrize("text", ["=3", "gpu=", "gpu=--1", "gpu=1.5"])
def test_what_is_no_capability_is_shown(text: str) -> None:
    with pytest.raises(ValueError, match="is not a capability"):
        parse_capabilities(text)
