"""Displays: plots of fitted models, drawn by matplotlib."""
