"""Ways to train the same two networks: ours, and what a user would pick instead.

Each file has one function `run(work, rounds)`. It builds the networks that `work` names, reports their
size, and trains as many steps as it is asked for, again and again. Some run in an environment of their
own, so a file imports only what it needs, and nothing of another one.
"""
