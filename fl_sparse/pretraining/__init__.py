"""Masked-autoencoder pretraining of the encoder."""
