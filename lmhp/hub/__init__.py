"""Hugging Face checkpoints: reads and writes config.json, safetensors and tokenizer.json."""
