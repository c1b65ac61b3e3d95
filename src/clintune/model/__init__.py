"""From pieces to outputs: encoders, backbone with adapter, fusion, heads."""
