"""Metadata of files of weights, read without running any of it. Standard library only: `plan` is quick."""
