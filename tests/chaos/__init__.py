"""Do to a live cluster, at random and under load, all that happens to servers: `python -m tests.chaos --help`."""
