"""Rows: validation, layout, standardization and PCA."""
