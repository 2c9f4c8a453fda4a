"""The model: an autoencoder and what it is built from."""
