"""Addresses of devices: ssh://[user@]host[:port][/path]. Standard library only."""

from __future__ import annotations

import re
from dataclasses import dataclass

from edgecompile.errors import RecipeError

FORM = "ssh://[user@]host[:port][/path]"
_ADDRESS = re.compile(
    r"ssh://(?:(?P<user>[A-Za-z0-9_][\w.-]*)@)?(?:\[(?P<bracketed>[0-9A-Fa-f:.]+(?:%\w+)?)\]|(?P<host>\w[\w.-]*))"
    r"(?::(?P<port>\d{1,5}))?(?P<path>/[^\0\n]*)?"
)
_SHORT = re.compile(r"[A-Za-z0-9_][\w.-]*@[^/]")
HOME_FOLDER = "edgecompile"
"""Where everything goes on a device, below the home folder, unless its address has a path."""


@dataclass(frozen=True)
class Address:
    """Where a device is.

    Attributes:
        host: name, number, or an alias of ~/.ssh/config.
        user, port: None for those of ssh's configuration.
        path: folder on the device that takes everything; None for `~/edgecompile`.
    """

    host: str
    user: str | None = None
    port: int | None = None
    path: str | None = None

    def __str__(self) -> str:
        """Returns the address without its path: the name of the device for people."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"ssh://{f'{self.user}@' if self.user else ''}{host}{f':{self.port}' if self.port else ''}"


def parse(text: str, where: str = "command line") -> Address:
    """Returns the address that `text` writes. A path that begins with /~/ is below the home folder. `user@host`, as ssh
    takes it, is `ssh://user@host`.

    Raises:
        RecipeError: it has another form.
    """
    match = _ADDRESS.fullmatch(f"ssh://{text}" if _SHORT.match(text) else text)
    port = int(match["port"]) if match and match["port"] else None
    if not match or not (port is None or 0 < port < 65536):
        raise RecipeError(f"'{text}' is no address of a device", where=where, fix=f"expected {FORM}")
    path = match["path"].rstrip("/") if match["path"] else ""
    path = path[3:] if path.startswith("/~/") else path
    return Address(match["host"] or match["bracketed"], match["user"], port, path or None)
