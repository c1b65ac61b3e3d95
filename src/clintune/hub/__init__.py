"""Where published packages live: a folder or URL, the Hugging Face Hub, an MLflow registry."""
