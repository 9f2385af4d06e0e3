"""The shipped config groups, installed as edgecompile.conf."""
