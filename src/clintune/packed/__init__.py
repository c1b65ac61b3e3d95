"""Transformers without padding: sequences stand one behind the other in one row, and only attention parts them."""
