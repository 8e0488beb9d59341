"""A package, so that no other package `tests` on the path, of which some libraries install one, takes its place."""
