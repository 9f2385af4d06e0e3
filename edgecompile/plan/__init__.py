"""From a recipe to a graph of steps: pure, quick, and without importing any step."""
