"""Seeded requests of all kinds, good and hostile, against a server: `python -m benchmarks.fuzz`."""
