"""Checkpoint families: one file per family, or for several similar families.

A family is a model type of Hugging Face transformers, such as 'llama'. Importing this package
registers the families of lmhp. A new family is one new file and one line below.
"""

# The modules register their families when they are imported.
from lmhp.hub.families import (  # noqa: F401
  bert,
  bloom,
  cohere,
  deepseek,
  falcon,
  gemma,
  glm,
  gpt2,
  gpt_neo,
  gpt_neox,
  gpt_oss,
  gptj,
  granite,
  llama,
  llama4,
  mistral,
  modernbert,
  mpt,
  nemotron,
  olmo,
  opt,
  phi,
  qwen,
  smollm3,
  stablelm,
  starcoder2,
  t5,
)
from lmhp.hub.families.family import FAMILIES, register_family

__all__ = ('FAMILIES', 'register_family')
