"""Compiled epochs and exact evaluation of one model."""
