"""The training engine: the step, where its images come from, and the loop around it."""
