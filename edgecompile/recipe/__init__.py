"""From YAML to a typed recipe: the only room that has heard of Hydra, and the one that explains what is wrong."""
