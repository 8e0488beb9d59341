"""The same generator behind other servers; each runs in an environment of its own."""
