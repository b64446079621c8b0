"""Benchmarks of the bus, each beside a baseline of the same run."""
