"""Other libraries, each in an environment of its own, on the same samples."""
