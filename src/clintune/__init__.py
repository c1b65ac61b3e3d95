"""Fine-tune multimodal foundation models on clinical data."""

__version__ = "0.1.0"
