"""Recordings to acoustic features, and the files that hold them."""
