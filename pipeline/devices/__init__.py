"""What a machine computes on: numerics, memory, compiled code."""
