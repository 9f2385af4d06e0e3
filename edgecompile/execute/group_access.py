"""A store that the members of a group share: what one of them writes there, all of them may replace and remove.

A store is a group's where its folder says so: it has the setgid bit and is writable for the group, which whoever sets
it up does once (`chgrp team STORE; chmod 2770 STORE`). New files and folders then belong to the group by the setgid
bit; the rights are set here, whatever the umask of a member is. Nothing is opened to others than the group.
"""

from __future__ import annotations

import grp
import os
import stat
from contextlib import suppress
from pathlib import Path

LOCK_MODE = 0o660
FILE_MODE = 0o664
"""Of what is replaced, less what the folder of the store itself denies to others."""


def is_shared(root: Path) -> bool:
    """Returns whether a store is a group's."""
    try:
        mode = root.stat().st_mode
    except OSError:
        return False
    return bool(mode & stat.S_ISGID and mode & stat.S_IWGRP)


def group_of(root: Path) -> str:
    """Returns the name of the group that a store belongs to, or its number where it has no name here."""
    number = root.stat().st_gid
    try:
        return grp.getgrgid(number).gr_name
    except KeyError:
        return str(number)


def open_folder(folder: Path, root: Path) -> None:
    """Lets a group into a folder of its store, and into the folders between. A folder of another member has been
    opened by that member."""
    while folder != root and folder.is_relative_to(root):
        with suppress(OSError):
            mode = folder.stat().st_mode
            if not mode & stat.S_IWGRP:
                folder.chmod(stat.S_IMODE(mode) | stat.S_IRWXG | stat.S_ISGID)
        folder = folder.parent


def open_tree(folder: Path) -> None:
    """Lets a group into a sealed output: its folders may be moved and removed; its files stay read-only."""
    for below, _, _ in os.walk(folder):
        os.chmod(below, stat.S_IMODE(os.stat(below).st_mode) | stat.S_IRWXG | stat.S_ISGID)
