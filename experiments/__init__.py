"""Recipes, and the commands that run them: ``python -m experiments``."""
