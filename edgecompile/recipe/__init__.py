"""A typed recipe: its schema and rules, what it names on disk, and what is wrong with it, by file, line and key."""
