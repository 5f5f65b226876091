"""A run on disk, and opened again: the only place where data, networks and objectives meet."""
