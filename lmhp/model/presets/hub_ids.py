"""Ids of the presets on the Hugging Face hub."""

from __future__ import annotations

from collections.abc import Mapping

_NAMES_BY_OWNER: Mapping[str, Mapping[str, str]] = {
  'openai-community': {
    'openai-gpt': 'openai-gpt',
    'gpt2': 'gpt2',
    'gpt2-medium': 'gpt2-medium',
    'gpt2-large': 'gpt2-large',
    'gpt2-xl': 'gpt2-xl',
  },
  'cerebras': {
    'cerebras-gpt-111m': 'Cerebras-GPT-111M',
    'cerebras-gpt-256m': 'Cerebras-GPT-256M',
    'cerebras-gpt-590m': 'Cerebras-GPT-590M',
    'cerebras-gpt-1.3b': 'Cerebras-GPT-1.3B',
    'cerebras-gpt-2.7b': 'Cerebras-GPT-2.7B',
    'cerebras-gpt-6.7b': 'Cerebras-GPT-6.7B',
    'cerebras-gpt-13b': 'Cerebras-GPT-13B',
  },
  'EleutherAI': {
    'gpt-neo-125m': 'gpt-neo-125m',
    'gpt-neo-1.3b': 'gpt-neo-1.3B',
    'gpt-neo-2.7b': 'gpt-neo-2.7B',
    'gpt-j-6b': 'gpt-j-6b',
    'pythia-14m': 'pythia-14m',
    'pythia-31m': 'pythia-31m',
    'pythia-70m': 'pythia-70m',
    'pythia-160m': 'pythia-160m',
    'pythia-410m': 'pythia-410m',
    'pythia-1b': 'pythia-1b',
    'pythia-1.4b': 'pythia-1.4b',
    'pythia-2.8b': 'pythia-2.8b',
    'pythia-6.9b': 'pythia-6.9b',
    'pythia-12b': 'pythia-12b',
    'gpt-neox-20b': 'gpt-neox-20b',
  },
  'facebook': {
    'opt-125m': 'opt-125m',
    'opt-350m': 'opt-350m',
    'opt-1.3b': 'opt-1.3b',
    'opt-2.7b': 'opt-2.7b',
    'opt-6.7b': 'opt-6.7b',
    'opt-13b': 'opt-13b',
    'opt-30b': 'opt-30b',
    'opt-66b': 'opt-66b',
  },
  'bigscience': {
    'bloom-560m': 'bloom-560m',
    'bloom-1b1': 'bloom-1b1',
    'bloom-1b7': 'bloom-1b7',
    'bloom-3b': 'bloom-3b',
    'bloom-7b1': 'bloom-7b1',
    'bloom-176b': 'bloom',
  },
  'mosaicml': {
    'mpt-7b': 'mpt-7b',
    'mpt-30b': 'mpt-30b',
  },
  'tiiuae': {
    'falcon-7b': 'falcon-7b',
    'falcon-40b': 'falcon-40b',
    'falcon-180b': 'falcon-180B',
  },
  'microsoft': {
    'phi-1.5': 'phi-1_5',
    'phi-2': 'phi-2',
    'phi-3-mini-4k': 'Phi-3-mini-4k-instruct',
    'phi-4': 'phi-4',
  },
  'bigcode': {
    'santacoder': 'santacoder',
    'starcoder': 'starcoder',
    'starcoder2-3b': 'starcoder2-3b',
    'starcoder2-7b': 'starcoder2-7b',
  },
  'huggyllama': {
    'llama-7b': 'llama-7b',
    'llama-13b': 'llama-13b',
    'llama-30b': 'llama-30b',
    'llama-65b': 'llama-65b',
  },
  'meta-llama': {
    'llama-2-7b': 'Llama-2-7b-hf',
    'llama-2-13b': 'Llama-2-13b-hf',
    'llama-2-70b': 'Llama-2-70b-hf',
    'llama-3-8b': 'Meta-Llama-3-8B',
    'llama-3-70b': 'Meta-Llama-3-70B',
    'llama-3.1-8b': 'Llama-3.1-8B',
    'llama-3.1-70b': 'Llama-3.1-70B',
    'llama-3.1-405b': 'Llama-3.1-405B',
    'llama-3.2-1b': 'Llama-3.2-1B',
    'llama-3.2-3b': 'Llama-3.2-3B',
    'llama-4-scout': 'Llama-4-Scout-17B-16E',
    'llama-4-maverick': 'Llama-4-Maverick-17B-128E',
  },
  'TinyLlama': {
    'tinyllama-1.1b': 'TinyLlama-1.1B-Chat-v1.0',
  },
  'mistralai': {
    'mistral-7b': 'Mistral-7B-v0.1',
    'mistral-7b-v0.3': 'Mistral-7B-v0.3',
    'mistral-nemo-12b': 'Mistral-Nemo-Base-2407',
    'mixtral-8x7b': 'Mixtral-8x7B-v0.1',
    'mixtral-8x22b': 'Mixtral-8x22B-v0.1',
  },
  'allenai': {
    'olmo-1b': 'OLMo-1B-hf',
    'olmo-7b': 'OLMo-7B-hf',
    'olmo-2-1b': 'OLMo-2-0425-1B',
    'olmo-2-7b': 'OLMo-2-1124-7B',
    'olmo-2-13b': 'OLMo-2-1124-13B',
    'olmo-2-32b': 'OLMo-2-0325-32B',
    'olmoe-1b-7b': 'OLMoE-1B-7B-0924',
  },
  'stabilityai': {
    'stablelm-3b-4e1t': 'stablelm-3b-4e1t',
    'stablelm-2-1.6b': 'stablelm-2-1_6b',
  },
  'HuggingFaceTB': {
    'smollm2-135m': 'SmolLM2-135M',
    'smollm2-360m': 'SmolLM2-360M',
    'smollm2-1.7b': 'SmolLM2-1.7B',
    'smollm3-3b': 'SmolLM3-3B',
  },
  'nvidia': {
    'nemotron-4-340b': 'Nemotron-4-340B-Base',
    'minitron-4b': 'Minitron-4B-Base',
  },
  'ibm-granite': {
    'granite-3.0-2b': 'granite-3.0-2b-base',
    'granite-3.0-8b': 'granite-3.0-8b-base',
  },
  'CohereForAI': {
    'command-r-35b': 'c4ai-command-r-v01',
  },
  'THUDM': {
    'glm-4-9b': 'glm-4-9b-hf',
  },
  'Qwen': {
    'qwen2.5-0.5b': 'Qwen2.5-0.5B',
    'qwen2.5-1.5b': 'Qwen2.5-1.5B',
    'qwen2.5-3b': 'Qwen2.5-3B',
    'qwen2.5-7b': 'Qwen2.5-7B',
    'qwen2.5-14b': 'Qwen2.5-14B',
    'qwen2.5-32b': 'Qwen2.5-32B',
    'qwen2.5-72b': 'Qwen2.5-72B',
    'qwen3-0.6b': 'Qwen3-0.6B',
    'qwen3-1.7b': 'Qwen3-1.7B',
    'qwen3-4b': 'Qwen3-4B',
    'qwen3-8b': 'Qwen3-8B',
    'qwen3-14b': 'Qwen3-14B',
    'qwen3-32b': 'Qwen3-32B',
    'qwen3-30b-a3b': 'Qwen3-30B-A3B',
    'qwen3-235b-a22b': 'Qwen3-235B-A22B',
  },
  'google': {
    'gemma-2b': 'gemma-2b',
    'gemma-7b': 'gemma-7b',
    'gemma-2-2b': 'gemma-2-2b',
    'gemma-2-9b': 'gemma-2-9b',
    'gemma-2-27b': 'gemma-2-27b',
    'gemma-3-1b': 'gemma-3-1b-pt',
    'bert-tiny': 'bert_uncased_L-2_H-128_A-2',
    'bert-mini': 'bert_uncased_L-4_H-256_A-4',
    'bert-small': 'bert_uncased_L-4_H-512_A-8',
    'bert-medium': 'bert_uncased_L-8_H-512_A-8',
    't5-v1.1-small': 't5-v1_1-small',
    't5-v1.1-base': 't5-v1_1-base',
    't5-v1.1-large': 't5-v1_1-large',
    't5-v1.1-xl': 't5-v1_1-xl',
    't5-v1.1-xxl': 't5-v1_1-xxl',
  },
  'deepseek-ai': {
    'deepseek-v2-lite': 'DeepSeek-V2-Lite',
    'deepseek-v2': 'DeepSeek-V2',
    'deepseek-v3': 'DeepSeek-V3',
  },
  'openai': {
    'gpt-oss-20b': 'gpt-oss-20b',
    'gpt-oss-120b': 'gpt-oss-120b',
  },
  'google-bert': {
    'bert-base': 'bert-base-uncased',
    'bert-large': 'bert-large-uncased',
  },
  'FacebookAI': {
    'roberta-base': 'roberta-base',
    'roberta-large': 'roberta-large',
  },
  'albert': {
    'albert-base-v2': 'albert-base-v2',
    'albert-large-v2': 'albert-large-v2',
    'albert-xlarge-v2': 'albert-xlarge-v2',
    'albert-xxlarge-v2': 'albert-xxlarge-v2',
  },
  'answerdotai': {
    'modernbert-base': 'ModernBERT-base',
    'modernbert-large': 'ModernBERT-large',
  },
  'google-t5': {
    't5-small': 't5-small',
    't5-base': 't5-base',
    't5-large': 't5-large',
    't5-3b': 't5-3b',
    't5-11b': 't5-11b',
  },
}
"""{owner on the hub: {preset: name of the repository of its owner}}."""

HUB_IDS: Mapping[str, str] = {
  preset: f'{owner}/{name}'
  for owner, names in _NAMES_BY_OWNER.items()
  for preset, name in names.items()
}
"""{preset: id on the hub, such as 'meta-llama/Llama-3.1-8B'}. Some presets have none."""

PRESET_OF_ID: Mapping[str, str] = {
  hub_id.lower(): preset for preset, hub_id in HUB_IDS.items()
}
"""{id on the hub, in lower case: preset}."""
