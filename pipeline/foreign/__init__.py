"""Networks that others have saved, in whatever format: opened, described, and never run from a file's own code.

`files.open_network` reads them; `network.Foreign` is what it returns.
"""
