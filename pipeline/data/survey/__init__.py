"""A look at a data set before it is trained on: what is in it, what is amiss, and what to do about it."""
