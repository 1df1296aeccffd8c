"""Atomic, durable objects at a path or URI."""
