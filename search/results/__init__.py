"""A study's record read back: points, fronts, policies, confirmation, progress."""
