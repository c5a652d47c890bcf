"""The command `sifigan-triton`."""
