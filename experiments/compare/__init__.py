"""Compare runs: a grid of recipes, varied keys and seeds on the same data, its tables, and what was tuned."""
