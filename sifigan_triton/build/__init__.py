"""A voice to engines, each through the quality gate, and to a model repository."""
