"""Benchmarks: what a round, an encoding, a message and a start cost, as ratios measured in one run."""
