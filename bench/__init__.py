"""Benchmarks from the source tree: C{python -m bench} is C{kgw bench}."""
