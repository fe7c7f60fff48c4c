"""The same federated job in other tools; see docs/benchmarks.md."""
