"""One verb of the program a file."""
