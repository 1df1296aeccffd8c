"""Runs trials: preparation, probes, conductor, scheduler, pool of actors."""
