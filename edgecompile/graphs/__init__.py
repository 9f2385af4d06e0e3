"""Reads, compares and rewrites the graphs of each format."""
