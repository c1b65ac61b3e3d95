"""Wearable and bedside signals: windows of a recording, encoded by a small model from scratch."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from clintune.core.disclosure import SMALLEST_SHOWN
from clintune.core.errors import ConfigError
from clintune.modalities.base import Modality, Mode
from clintune.modalities.recording_reader import RecordingReader, Transform
from clintune.modalities.signal_encoders import Kind, SignalEncoder


class Wearable(Modality):
    """Recordings in windows, as RecordingReader makes them, each one piece of `tokens` tokens.

    `encoder` is the kind of the model that reads them, of `depth` layers of `width`, with `patch`
    samples a step.
    """

    reader: RecordingReader

    def __init__(
        self,
        *,
        rate_hz: float,
        window_hours: float,
        transform: Transform,
        encoder: Kind = "patch_transformer",
        channels: list[str] | None = None,
        codes: list[str] | None = None,
        min_subjects: int = SMALLEST_SHOWN,
        patch: int = 60,
        width: int = 64,
        depth: int = 2,
        tokens: int = 1,
        mode: Mode = "full",
        max_pieces: int = 14,
    ) -> None:
        reader = RecordingReader(
            rate_hz=rate_hz,
            window_hours=window_hours,
            transform=transform,
            channels=channels,
            min_subjects=min_subjects,
            max_pieces=max_pieces,
            codes=codes,
        )
        super().__init__(reader, mode=mode)
        self.kind: Kind = encoder
        self.shape = {"patch": patch, "width": width, "depth": depth, "tokens": tokens}

    def build(self, statistics: Mapping[str, Any]) -> None:
        """Make the encoder for the channels of the statistics."""
        self.reader.open(statistics)
        length = self.reader.window_length
        if not 1 <= self.shape["patch"] <= length or length < 1:
            raise ConfigError(
                f"patch {self.shape['patch']} does not fit a window of {length} samples"
            )

        # The inputs are signals and masks of the channels, and two waves of the clock.
        inputs = 2 * len(self.reader.names) + 2
        self.encoder = SignalEncoder(self.kind, inputs=inputs, length=length, **self.shape)
        self.encoder.requires_grad_(self.mode == "full")
        self.width = self.shape["width"]
        self.tokens_per_piece = self.shape["tokens"]

    def encode(self, tensors: Mapping[str, Tensor]) -> Tensor:
        """Encode windows to [P, K, W]."""
        observed = tensors["observed"]
        inputs = torch.cat([tensors["signal"], observed, tensors["clock"]], dim=1)
        encoded: Tensor = self.encoder(inputs, observed)
        return encoded
