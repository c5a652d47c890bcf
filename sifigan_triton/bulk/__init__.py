"""Bulk work: a corpus of feature files and recordings turned into audio, each output exactly once, by many workers."""
