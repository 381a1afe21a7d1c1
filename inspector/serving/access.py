"""Who is let in: by the name that was asked for, the page that asks, and the token."""

from __future__ import annotations

import hmac
import ipaddress
import secrets
import socket
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

from inspector.errors import UsageError

Scope = MutableMapping[str, Any]
App = Callable[[Scope, Callable[[], Awaitable[Any]], Callable[[Any], Awaitable[None]]], Awaitable[None]]

LEAST_TOKEN = 8
"""Characters of a token that somebody chooses."""

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' blob: data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": _POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}
"""Of every answer."""


def make_token() -> str:
    """A token that nobody guesses: 256 random bits."""
    return secrets.token_urlsafe(32)


def check_token(token: str) -> str:
    """The token that was given.

    Raises:
        UsageError: It is too short, or holds what an address cannot.
    """
    if len(token) < LEAST_TOKEN or not all(c.isascii() and (c.isalnum() or c in "-._~") for c in token):
        raise UsageError(
            f"a token has at least {LEAST_TOKEN} letters, digits or - . _ ~",
            "without --token one is made where it is needed",
        )
    return token


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches a server there.

    Example:
        >>> is_loopback("127.0.0.1"), is_loopback("localhost"), is_loopback("0.0.0.0")
        (True, True, False)
    """
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def list_names(host: str, more: Iterable[str] = ()) -> frozenset[str]:
    """The names that a page of this server may be asked for by, in lower case; addresses in digits are none.

    Args:
        host: Where the server listens.
        more: Further names that the user allows.
    """
    names = {"localhost", host.lower(), *(name.lower() for name in more)}
    if not is_loopback(host):
        own = socket.gethostname().lower()
        names |= {own, own.partition(".")[0], f"{own.partition('.')[0]}.local"}
    return frozenset(names)


@dataclass(frozen=True)
class Gate:
    """What a request must show.

    Attributes:
        names: The names that `Host` may have; see :func:`list_names`. A foreign name that leads here (DNS rebinding) is
            refused. An address in digits cannot be bent so, and is taken where the server is open to others.
        token: What a stranger has to know; None where all may look.
        cookie: The cookie that keeps it after the first visit.
        local: Only this machine reaches the server.
    """

    names: frozenset[str]
    token: str | None = field(default=None, repr=False)
    cookie: str = "inspector-live"
    local: bool = True

    def refuse(self, headers: Mapping[str, str], query: str, navigates: bool) -> tuple[int, str] | None:
        """Say why a request is refused: status and line; None where it is let in.

        Args:
            headers: Of the request, their names in lower case.
            query: Of the address.
            navigates: It asks for the page itself, to which any other page may lead.
        """
        host = headers.get("host", "")
        if not self.knows(host):
            return 421, "this server is not called that; `--allow-host NAME` allows a name"
        origin = headers.get("origin")
        if origin is not None and _read_place(origin) != host.lower():
            return 403, "another page asked for this"
        if not navigates and headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
            return 403, "another page asked for this"
        if self.token is not None and not self._shows_token(headers, query if navigates else ""):
            return 401, "open the address with the token, which `inspector live` wrote when it began"
        return None

    def knows(self, host: str) -> bool:
        """Whether `Host` is a name of this server; of any port, since a tunnel has its own."""
        try:
            name = (urlsplit(f"//{host}").hostname or "").rstrip(".")
        except ValueError:
            return False
        try:
            address = ipaddress.ip_address(name)
        except ValueError:
            return name in self.names
        return address.is_loopback or not self.local or name in self.names

    def _shows_token(self, headers: Mapping[str, str], query: str) -> bool:
        return any(self.fits(shown) for shown in (read_cookie(headers, self.cookie), read_query(query)))

    def fits(self, shown: str) -> bool:
        """Whether it is the token; takes as long whatever is shown."""
        return self.token is not None and hmac.compare_digest(shown.encode(), self.token.encode())


def _read_place(origin: str) -> str | None:
    """The name and port of an origin, in lower case; None where it is no address."""
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return None


def read_cookie(headers: Mapping[str, str], name: str) -> str:
    """The value of a cookie; empty where there is none."""
    # By hand: http.cookies reads none at all where another program at this name has set one that it does not like.
    for cookie in headers.get("cookie", "").split(";"):
        key, _, value = cookie.partition("=")
        if key.strip() == name:
            return value.strip()
    return ""


def read_query(query: str) -> str:
    """The token in a query; empty where there is none."""
    return parse_qs(query).get("token", [""])[0]


class Guarded:
    """An application behind a gate. Every answer has the headers that keep a page to itself."""

    def __init__(self, app: App, gate: Gate) -> None:
        self.app, self.gate = app, gate

    async def __call__(self, scope: Scope, receive: Callable[[], Awaitable[Any]], send: Any) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        query = scope.get("query_string", b"").decode("latin-1")
        navigates = scope["path"] == "/"
        more = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
        refused = self.gate.refuse(headers, query, navigates)
        if refused is None and scope["method"] not in ("GET", "HEAD"):
            refused = 405, "nothing can be sent here"
        if refused is not None:
            status, line = refused
            body = f"{line}\n".encode()
            more += [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", str(len(body)).encode())]
            await send({"type": "http.response.start", "status": status, "headers": more})
            await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})
            return
        if navigates and self.gate.token is not None and self.gate.fits(read_query(query)):
            cookie = f"{self.gate.cookie}={self.gate.token}; HttpOnly; SameSite=Strict; Path=/; Max-Age=31536000"
            more.append((b"set-cookie", cookie.encode()))

        async def send_guarded(message: Any) -> None:
            if message["type"] == "http.response.start":
                own = {name.lower() for name, _ in message["headers"]}
                message = {**message, "headers": [*message["headers"], *(one for one in more if one[0] not in own)]}
            await send(message)

        await self.app(scope, receive, send_guarded)
