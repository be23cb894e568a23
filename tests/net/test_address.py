"""Addresses as people write them."""

import pytest

from scaler_trio.net import Address, AddressError


@pytest.mark.parametrize(
    ("text", "host", "port", "loopback"),
    [
        ("tcp://127.0.0.1:80", "127.0.0.1", 80, True),
        ("127.0.0.1:80", "127.0.0.1", 80, True),
        ("tcp://localhost:0", "localhost", 0, True),
        ("tcp://[::1]:8000", "::1", 8000, True),
        ("tcp://scheduler.example.org:65535", "scheduler.example.org", 65535, False),
        ("tcp://0.0.0.0:1", "0.0.0.0", 1, False),
    ],
)
def test_an_address_is_read_and_written(text: str, host: str, port: int, loopback: bool) -> None:
    address = Address.parse(text)
    assert (address.host, address.port, address.is_loopback) == (host, port, loopback)
    assert Address.parse(str(address)) == address


@pytest.mark.parametrize(
    "text",
    [
        *("", "tcp://", "localhost", "tcp://host", "tcp://host:", "tcp://host:port", "tcp://host:70000", "tcp://::1:5"),
        *("http://host:80", "tcp://host:80/path", "tcp://user@host:80", "ws://host:1", "tcp://:80"),
    ],
)
def test_what_is_no_address_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(AddressError, match=r"write tcp://host:port|for IPv6"):
        Address.parse(text)
