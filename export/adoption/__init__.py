"""Bundles of generators that others have trained: what is found in them is understood, said, and exported as it is."""
