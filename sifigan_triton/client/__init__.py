"""Clients of a server that serves the ensemble."""
