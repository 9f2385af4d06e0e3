"""The shipped recipes, one flat file per device and precision, installed as edgecompile.recipes."""
