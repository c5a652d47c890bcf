"""What Triton mounts: configurations, adapters, runtimes, and the folders that hold them."""
