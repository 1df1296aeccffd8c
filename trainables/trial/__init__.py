"""One attempt of a trial in a warm actor: its measurements, its checkpoints."""
