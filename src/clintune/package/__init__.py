"""The adapter package: what leaves the house.
safetensors and text only; nothing is unpickled, nothing unknown is run.

| file | content |
|---|---|
| `adapter_config.json`, `adapter_model.safetensors` | the backbone's adapter, PEFT's own files |
| `parts.safetensors` | projectors, queries, heads, trained or random parts of encoders |
| `clintune.yaml` | composition, origins of weights, statistics, states of the tasks |
| `README.md` | the card |
| `MANIFEST.json` | the SHA-256 of every file |
| `sample.safetensors` | only in a release: a made-up sample and the model's answer |
"""
