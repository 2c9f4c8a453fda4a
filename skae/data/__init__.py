"""Preparation of data with NumPy: validation, layout, standardization and PCA."""
