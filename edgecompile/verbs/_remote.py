"""Arguments of the verbs that run on a device reached by ssh. Standard library only: the device itself has them too."""

from __future__ import annotations

import argparse
from pathlib import Path

from edgecompile.arguments import WHERE, Parser
from edgecompile.errors import RecipeError

FORM = "ssh://[user@]host[:port][/path], or ssh://alias of ~/.ssh/config"
NOTES = """\
The device is reached by the ssh of this system: its configuration, keys and known hosts count, and nothing is asked.
Everything goes into one folder of the user there, ~/edgecompile or the path of the address; nothing is installed for
the system."""


def add_device_arguments(parser: Parser) -> None:
    """Adds the arguments for installing the runtime on a device."""
    wheels = "install there from the wheels of this folder, without network (default: the index that pip knows there)"
    parser.add_argument("--wheels", metavar="DIR", type=Path, help=wheels)
    python = "a Python there that has numpy, OpenCV and the backend: nothing is installed"
    parser.add_argument("--python", metavar="PROGRAM", help=python)
    parser.add_argument("--quiet", action="store_true", help="no progress")
    parser.epilog = NOTES


def add_on(parser: Parser) -> None:
    """Adds `--on`, by which a verb of the runtime runs on a device instead, and the arguments that belong to it."""
    parser.add_argument("--on", dest="device", metavar="DEVICE", help=f"run on a device instead: {FORM}")
    add_device_arguments(parser)


def add_against(parser: Parser) -> None:
    """Adds `--against`, by which another bundle takes turns with the one that is measured."""
    against = "another bundle, such as the float one, that takes turns with it: how many times as fast it is"
    parser.add_argument("--against", metavar="BUNDLE", type=Path, help=against)


def require_on(arguments: argparse.Namespace) -> None:
    """Raises RecipeError where `--wheels` or `--python` stand without `--on`."""
    for flag in ("wheels", "python"):
        if getattr(arguments, flag) and not arguments.device:
            raise RecipeError(f"--{flag} goes with --on", where=WHERE)
