"""What decides which code a process loads, as it stood in the environment when this process was started.

Imported first, so that nothing that sets variables later, such as Hydra's `hydra.job.env_set`, changes it.
"""

from __future__ import annotations

import os

LOADING = ("LD_", "DYLD_", "GCONV_PATH", "GLIBC_TUNABLES", "PYTHONHOME")
"""Beginnings of variables that decide which code the loader and the interpreter load."""


def decides_code(name: str) -> bool:
    """Returns whether a variable decides which code a process loads."""
    return name.startswith(LOADING)


AT_START = {name: value for name, value in os.environ.items() if decides_code(name)}
"""The person's own: a library path for CUDA or OpenVINO, an allocator that is loaded before others."""
