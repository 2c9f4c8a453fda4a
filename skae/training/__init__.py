"""Training an autoencoder."""
