"""Addresses of streams on the network, and how they are shown: without their secrets. Standard library only."""

from __future__ import annotations

import re

SCHEMES = ("rtsp", "rtsps", "http", "https")
"""Schemes of the streams that are read."""
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")


def is_address(text: object) -> bool:
    """Returns whether a text is an address of the network, such as `rtsp://host/path`."""
    return isinstance(text, str) and _SCHEME.match(text) is not None


def scheme_of(address: str) -> str:
    """Returns the scheme of an address, in small letters; "" where it has none."""
    match = _SCHEME.match(address)
    return match[1].lower() if match else ""


def masked(address: str) -> str:
    """Returns an address without user, password and the values of its query, which may be secrets.

    Whoever types a password does not always write its `/` and `@` as the standard asks: all before the last `@` of the
    host, or of the path where the host has none, is taken for user and password.
    """
    scheme, colon, rest = address.partition("://")
    host, slash, path = rest.partition("/")
    if "@" not in host and "@" in (before := path.partition("?")[0]):  # a "/" in the password
        end = before.rindex("@")
        host, path = f"{host}/{path[: end + 1]}", path[end + 1 :]
        host, slash, path = f"{host}{path.partition('/')[0]}", *path.partition("/")[1:]
    if "@" in host:
        host = f"***@{host.rpartition('@')[2]}"
    return f"{scheme}{colon}{re.sub(r'=[^&]*', '=***', f'{host}{slash}{path}')}"
