"""Where bytes are kept: folders behind URLs, and the cache folder that all runs share."""
