"""The generator, and the narrowing engine that computes it exactly in windows."""
