"""The adapter package: what leaves the house. safetensors and text only; nothing is unpickled, nothing unknown is run.

adapter_config.json  adapter_model.safetensors   the backbone's adapter, PEFT's own files
parts.safetensors                                projectors, queries, heads, trained or random encoder parts
clintune.yaml                                    composition, weights' origin, statistics, states of the tasks
README.md  MANIFEST.json                         card; sha256 of every file
sample.safetensors                               of a release: a made-up sample and the model's answer
"""
