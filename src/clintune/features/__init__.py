"""From items to batches of pieces: preprocessed once, cached by content, learned statistics."""
