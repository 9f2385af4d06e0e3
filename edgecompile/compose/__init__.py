"""From words on a command line and YAML to a typed recipe: the only room that uses Hydra."""
