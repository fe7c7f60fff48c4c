"""Compare runs: recipes x varied keys x seeds on the same data, into three tables.

Each cell is an ordinary run in DIR/cells, so a comparison that was cut off goes on where it stopped: finished cells are
kept, an unfinished one is resumed. With --tune, learning rate and local steps (or any keys) are chosen for each line of
the table from one grid, by validation accuracy with the first seed, never on the test set; the other seeds run with the
chosen values.
"""
