"""Addresses as people write them: ``tcp://host:port``, with names, IPv4, and IPv6 in brackets."""

import ipaddress
from urllib.parse import urlsplit

from attrs import frozen


class AddressError(ValueError):
    """Not an address; the text shows what was given and what one looks like."""


@frozen
class Address:
    """Where a service listens."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> "Address":
        """Read ``tcp://host:port``; the scheme may be left out.

        Raises:
            AddressError: anything else.
        """
        if not isinstance(text, str):
            raise AddressError(f"{text!r} is not an address; write tcp://host:port")
        try:
            parts = urlsplit(text if "://" in text else f"tcp://{text}")
            port = parts.port
        except ValueError as error:
            raise AddressError(f"{text!r} is not an address ({error}); write tcp://host:port") from None
        if parts.scheme != "tcp" or not parts.hostname or port is None or parts.path or parts.query or parts.username:
            raise AddressError(f"{text!r} is not an address; write tcp://host:port, for IPv6 tcp://[::1]:port")
        return cls(parts.hostname, port)

    def with_port_of(self, bound: "Address") -> "Address":
        """The same; port 0 stands for the port that somebody got who took any."""
        return self if self.port else Address(self.host, bound.port)

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"tcp://{host}:{self.port}"
