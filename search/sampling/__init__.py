"""Proposes the next config, from the seed, the number and the trials so far."""
