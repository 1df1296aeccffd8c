"""Trains a study's leading points again with fresh seeds, and says what is left of the lead."""
