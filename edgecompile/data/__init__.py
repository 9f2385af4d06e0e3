"""Data sets on disk: labels, splits, what is published and fetched. Reads no picture and imports no array library."""
