"""Studies on a cluster, from a laptop: the way there, jobs, questions."""
