"""The stacked MLP: batched matrix products and a pass backward written out by hand, on NumPy or torch."""
