"""Models: their parameters with axes, the MLP, what they cost, and the description of a trained one."""
