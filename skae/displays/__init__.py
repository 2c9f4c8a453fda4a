"""Displays: pictures of fitted models, drawn by matplotlib."""
