"""Classical methods on what frozen encoders see."""
