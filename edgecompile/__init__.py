"""edgecompile compiles a vision model for one edge device into a verified, reproducible bundle."""

__version__ = "0.1.0"
