"""Networks that others have trained, and what reads their files."""
