"""What may vary: parameters, their rules and conditions, configs as numbers."""
