"""The stacked MLP: batched matrix products and a pass backward that is written out, on NumPy or torch."""
