"""Figures of a comparison's tables, for documents: from CSV files to one SVG or PNG file."""
