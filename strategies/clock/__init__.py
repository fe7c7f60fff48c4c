"""The virtual clock: simulated seconds and deadlines."""
