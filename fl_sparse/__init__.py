"""Federated learning with sparse inputs and sparse models."""

__version__ = "0.1.0"
