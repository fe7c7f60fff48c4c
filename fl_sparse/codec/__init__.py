"""How values travel: formats with fewer bits, and residuals of what they lose."""
