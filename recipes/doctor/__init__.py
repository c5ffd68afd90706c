"""`rounds doctor`: what can be found wrong with a recipe in seconds, before an hour of a GPU is spent on it."""
