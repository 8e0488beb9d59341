"""From facts to verdicts: pure functions, which read nothing of the machine."""
