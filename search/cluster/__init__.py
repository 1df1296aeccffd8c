"""The Ray that is joined or started: nodes, room, shares, token, signals."""
