"""Models from a spec or a user's function, and what goes in and comes out."""
