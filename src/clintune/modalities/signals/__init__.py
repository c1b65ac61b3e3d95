"""Recordings of any format as signals: their times, doubts and windows, and what encodes them."""

from clintune.modalities.signals.files import read_signal

__all__ = ["read_signal"]
