"""What holds for every test: nothing is kept in the user's own folders."""

from __future__ import annotations

import os

os.environ["EDGECOMPILE_DEVICE_CACHE"] = "off"
