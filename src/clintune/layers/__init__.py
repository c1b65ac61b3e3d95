"""Building blocks of networks: transformers without padding, dropout, precision."""
