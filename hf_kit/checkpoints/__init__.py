"""Checkpoints that are complete and verified, or do not exist.

`checkpoint-<step>/` holds the model as `save_pretrained` writes it, `optimizer`, `scheduler`, `scaler` and `processes`
(random numbers and sums of every process) each as `.json` + `.safetensors`, `trainer_state.json`, and `manifest.json`.
No pickle is written or read.
"""
