"""What a file of weights says of itself, read without running any of it. Standard library only: `plan` is quick."""
