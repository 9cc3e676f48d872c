"""Measure gearmesh against gearmand with one load generator: `python -m benchmarks --help`.

Read `docs/benchmarks.md` for what is measured and how. Not for tests of behaviour: those are in `tests`.
"""
