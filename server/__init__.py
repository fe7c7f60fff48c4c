"""The Flower ServerApp, its rounds and checkpoints, and the in-process grid."""
