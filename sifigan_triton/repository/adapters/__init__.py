"""The `model.py` files that the build stages into Triton model folders: each adapts one pure function to Triton."""
