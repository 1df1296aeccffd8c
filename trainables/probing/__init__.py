"""Measures models before the first trial."""
