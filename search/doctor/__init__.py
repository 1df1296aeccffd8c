"""Whether this machine, or a cluster, is fit to run studies: facts, checks, a page."""
