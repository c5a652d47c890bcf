"""The window of the static engines, chosen for a distribution of lengths from measured times (`--window auto`)."""

from sifigan_triton.build.window_choice.auto import auto_window

__all__ = ["auto_window"]
