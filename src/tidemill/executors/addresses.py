"""Which hosts and networks an app's URL may lead to, and connections that go nowhere else.

A site's apps are called with the site's own reach into its networks, so a URL is a way in. An address is
allowed only if an entry of the allowlist says so:

- `10.20.0.0/16`, `fd00::/8`: a network; a name is allowed when *every* address that it resolves to is;
- `10.20.0.7`, `[fd00::7]`, with or without `:port`: one address;
- `apps.example.org`, `*.example.org`, with or without `:port`: a host by name, whatever private or public
  address it has, but never this machine itself, unless its address is allowed as well.

By default only this machine (`127.0.0.0/8`, `::1`). Addresses that are a way to a cloud's keys (link-local,
the metadata services) and those that name no single machine (unspecified, multicast) are always refused,
unless an entry lies within such a network: `0.0.0.0/0` does not open them.

A name is resolved once for each connection, all its addresses are checked, and the connection goes to exactly
the address that was checked; `Host` and the TLS server name stay the name. So a name that changes its address
between the check and the call (DNS rebinding) leads nowhere new.
"""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from urllib.parse import SplitResult, urlsplit

import httpcore2

from tidemill.errors import AddressForbidden

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network
Resolver = Callable[[str, int], Awaitable[Sequence[str]]]
"""From a host name and a port to its addresses; raises OSError where the name is not known."""

DEFAULT_ALLOWED = ("127.0.0.0/8", "::1/128")

_GUARDED: tuple[Network, ...] = tuple(
    ip_network(network)
    for network in (
        "0.0.0.0/8",
        "169.254.0.0/16",  # link-local; the metadata service of AWS, GCP, Azure
        "100.100.100.200/32",  # Alibaba's metadata service
        "192.0.0.192/32",  # Oracle's
        "224.0.0.0/3",  # multicast, reserved, broadcast
        "::/128",
        "fe80::/10",
        "fd00:ec2::254/128",  # AWS's metadata service over IPv6
        "ff00::/8",
    )
)
_LOOPBACK: tuple[Network, ...] = (ip_network("127.0.0.0/8"), ip_network("::1/128"))
_NAT64 = ip_network("64:ff9b::/96")
_HOST = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)(\.(?!-)[a-z0-9_-]{1,63}(?<!-))*")
_NUMERIC_LABEL = re.compile(r"\d+|0x[0-9a-f]*", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Target:
    """A URL taken apart, after the checks that need no resolving."""

    scheme: str
    host: str
    """Lower case; an address in its canonical form, IPv6 without brackets."""
    port: int
    path: str
    """Path and query as they go into the request line."""

    @property
    def origin(self) -> tuple[str, str, int]:
        return self.scheme, self.host, self.port

    @property
    def authority(self) -> str:
        """For the `Host` header and for messages."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == {"http": 80, "https": 443}[self.scheme] else f"{host}:{self.port}"

    def __str__(self) -> str:
        return f"{self.scheme}://{self.authority}{self.path}"


def parse_url(url: str) -> Target:
    """Take an app's URL apart; raises AddressForbidden for what no app URL needs: other schemes, user names
    and passwords, control characters, numbers that only some programs read as an address (`127.1`,
    `0x7f000001`).
    """
    if re.search(r"[\s\\\x00-\x1f\x7f]", url):
        raise AddressForbidden(f"{url!r} has spaces, backslashes or control characters in it.")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise AddressForbidden(f"{url!r} is not a URL: {error}.") from None
    if parts.scheme not in ("http", "https"):
        raise AddressForbidden(f"{url!r} is not an http:// or https:// URL.")
    if parts.username is not None or parts.password is not None:
        raise AddressForbidden("A user name or password in an app's URL is not allowed.")
    if port == 0:
        raise AddressForbidden(f"{url!r} names port 0.")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    if not path.isascii():
        raise AddressForbidden(f"{url!r} has characters that must be percent-encoded.")
    return Target(parts.scheme, _host(parts), port or (443 if parts.scheme == "https" else 80), path)


def _host(parts: SplitResult) -> str:
    host = (parts.hostname or "").removesuffix(".").lower()
    if ":" in host:
        if "%" in host:
            raise AddressForbidden(f"{host}: an address with a zone is not allowed.")
        return str(_address(host))
    if not host or len(host) > 253 or not _HOST.fullmatch(host):
        raise AddressForbidden(f"{parts.hostname!r} is not a host name; write one in other scripts as xn--…")
    if _NUMERIC_LABEL.fullmatch(host.rpartition(".")[2]):
        return str(_address(host))
    return host


def _address(text: str) -> Address:
    try:
        return ip_address(text)
    except ValueError:
        raise AddressForbidden(f"{text} is not an IP address in its usual form (such as 127.0.0.1).") from None


@dataclass(frozen=True, slots=True)
class _Entry:
    text: str
    port: int | None = None
    host: str = ""
    network: Network | None = None

    def names(self, host: str, port: int) -> bool:
        if self.port not in (None, port) or not self.host:
            return False
        return host.endswith(self.host[1:]) if self.host.startswith("*.") else host == self.host

    def holds(self, address: Address, port: int) -> bool:
        if self.port not in (None, port) or self.network is None:
            return False
        return address.version == self.network.version and address in self.network


def _entry(text: str) -> _Entry:
    entry = text.strip().lower()
    try:
        if "/" in entry or (entry.count(":") > 1 and not entry.startswith("[")):
            return _Entry(text, network=ip_network(entry, strict=False))
        wildcard = entry.startswith("*.")
        parts = urlsplit(f"//{entry[2:] if wildcard else entry}")
        if parts.path or parts.username is not None:
            raise ValueError("more than a host and a port")
        host, port = _host(parts), parts.port
        if not wildcard and (":" in host or _NUMERIC_LABEL.fullmatch(host.rpartition(".")[2])):
            return _Entry(text, port, network=ip_network(host))
        return _Entry(text, port, host=f"*.{host}" if wildcard else host)
    except (ValueError, AddressForbidden) as error:
        raise AddressForbidden(
            f"{text!r} in the allowed addresses is neither a host, a host:port nor a network ({error}).",
            hint="Write for example apps.example.org, *.example.org, 10.0.0.7:5000 or 10.20.0.0/16.",
        ) from None


async def resolve(host: str, port: int) -> Sequence[str]:
    """The addresses that this machine's resolver gives for a name."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(info[4][0]) for info in found))


class AddressPolicy:
    """The allowlist of a site: see the module's text for what an entry says.

    `resolver` is asked once for every connection to a host that is not an address.
    """

    def __init__(self, allowed: Iterable[str] = DEFAULT_ALLOWED, resolver: Resolver = resolve) -> None:
        self._entries = [_entry(text) for text in allowed]
        self._resolver = resolver

    def __str__(self) -> str:
        return ", ".join(entry.text for entry in self._entries) or "nothing"

    async def check(self, url: str) -> Target:
        """For registration: raises AddressForbidden where an app at this URL would not be called.

        A name that is not known today passes here if an entry names it, and is refused otherwise.
        """
        target = parse_url(url)
        try:
            await self.addresses(target.host, target.port)
        except OSError as error:
            if not self.names(target.host, target.port):
                raise AddressForbidden(f"The host {target.host} cannot be found ({error}).") from error
        return target

    def names(self, host: str, port: int) -> bool:
        """Whether an entry names this host, or this one address, on its own (not within a larger network)."""
        if any(entry.names(host, port) for entry in self._entries):
            return True
        address = _literal(host)
        single = (entry for entry in self._entries if entry.network and entry.network.num_addresses == 1)
        return address is not None and any(entry.holds(address, port) and "/" not in entry.text for entry in single)

    async def addresses(self, host: str, port: int) -> list[str]:
        """Where a connection to `host` may go: all its addresses, each checked.

        Raises AddressForbidden as soon as one of them is not allowed, OSError where the name is not known.
        """
        literal = _literal(host)
        found = [str(literal)] if literal else list(await self._resolver(host, port))
        if not found:
            raise OSError(f"no address for {host}")
        for text in found:
            self._require(host, port, _address(text.partition("%")[0]))
        return found

    def _require(self, host: str, port: int, address: Address) -> None:
        led = host if host == str(address) else f"{host}, which is {address},"
        for real in _meant(address):
            if any(real in network for network in _GUARDED if network.version == real.version):
                allowed = self._opened(real, port)
            else:
                allowed = any(entry.holds(real, port) for entry in self._entries) or (
                    not _within(real, _LOOPBACK) and any(entry.names(host, port) for entry in self._entries)
                )
            if not allowed:
                raise AddressForbidden(
                    f"This site does not allow apps at {led} port {port}.",
                    hint=f"Allowed are: {self}.",
                )

    def _opened(self, address: Address, port: int) -> bool:
        """A guarded address needs an entry that lies within its guarded network."""
        guards = [network for network in _GUARDED if _within(address, (network,))]
        return any(
            entry.holds(address, port) and entry.network and entry.network.prefixlen >= guard.prefixlen
            for entry in self._entries
            for guard in guards
        )


def _literal(host: str) -> Address | None:
    try:
        return ip_address(host)
    except ValueError:
        return None


def _within(address: Address, networks: Iterable[Network]) -> bool:
    return any(address.version == network.version and address in network for network in networks)


def _meant(address: Address) -> list[Address]:
    """The addresses that must all be allowed: an IPv4 address inside an IPv6 one counts as itself."""
    if isinstance(address, IPv4Address):
        return [address]
    if address.ipv4_mapped:
        return [address.ipv4_mapped]
    inner: list[Address] = [address]
    if address.sixtofour:
        inner.append(address.sixtofour)
    if address.teredo:
        inner.append(address.teredo[1])
    if address in _NAT64:
        inner.append(IPv4Address(int(address) & 0xFFFFFFFF))
    return inner


class PinnedBackend(httpcore2.AsyncNetworkBackend):
    """Connects to the addresses that the policy has just checked, and to nothing else."""

    def __init__(self, policy: AddressPolicy) -> None:
        self._policy = policy
        self._backend = httpcore2.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        """Raises AddressForbidden, and httpcore2.ConnectError or ConnectTimeout when no address answers."""
        try:
            async with asyncio.timeout(timeout):
                addresses = await self._policy.addresses(host, port)
        except TimeoutError as error:
            raise httpcore2.ConnectTimeout(f"no answer from the resolver for {host}") from error
        except OSError as error:
            raise httpcore2.ConnectError(f"the host {host} cannot be found ({error})") from error
        failure: Exception = httpcore2.ConnectError(host)
        for address in addresses:
            try:
                return await self._backend.connect_tcp(address, port, timeout, local_address, socket_options)
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout) as error:
                failure = error
        raise failure

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
