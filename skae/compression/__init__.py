"""Rows as bytes: quantized codes, corrections, and the format of both."""
