"""Data sets: Parquet in, checked at once, decoded once, mapped by every trial."""
