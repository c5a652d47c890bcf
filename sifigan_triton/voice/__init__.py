"""A voice's folder, and what makes one from the files of the public training code."""

from preprocess.voice import VoiceError


class CheckpointError(VoiceError):
    """A file of the public training code is missing, malformed, unsafe or describes a generator not served here."""
