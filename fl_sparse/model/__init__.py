"""Models: parameters with axes, the MLP, the cost of training, and the file of a trained model."""
