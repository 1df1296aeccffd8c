"""One frozen, checked study, and what was prepared for it."""
