"""A study's record: decisions, measurements, log, and who may write."""
