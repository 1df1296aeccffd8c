"""The samplers, and what they reckon with; `search.searcher` is their only door."""
