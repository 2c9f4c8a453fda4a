"""Rows as bytes, by way of their codes."""
