"""The `twohead` command, and what runs on a cluster's head."""
