"""Federated strategies: who trains which units, and how updates become the next global model."""
