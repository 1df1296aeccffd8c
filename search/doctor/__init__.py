"""Whether this machine, or a cluster, is fit to run studies: facts, judgements, a page."""
