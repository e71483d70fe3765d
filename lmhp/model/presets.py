"""Published architectures as data: the keyword arguments of `ModelConfig`, by name.

A family states once what its sizes share; each size is one line of numbers under the family's columns. Published
dropout rates and initial scales belong to a training recipe, and are left out. Sources: each model's paper or card,
and the config.json beside its weights.
"""

from __future__ import annotations

import math
from typing import Any

from lmhp.errors import ConfigError, suggest
from lmhp.model.config import ModelConfig


def _sizes(
  columns: str, sizes: dict[str, tuple], **shared
) -> dict[str, dict[str, Any]]:
  """One dict for each size: what is shared, then the size's own numbers under the columns, then its own words."""
  presets = {}
  for name, values in sizes.items():
    own = values[-1] if isinstance(values[-1], dict) else {}
    numbers = values[: len(values) - bool(own)]
    presets[name] = shared | dict(zip(columns.split(), numbers, strict=True)) | own
  return presets


BIASES = dict(
  norm_bias=True, qkv_bias=True, attention_output_bias=True, feed_forward_bias=True
)
GPT = dict(position='learned', activation='gelu_tanh', **BIASES)
LLAMA = dict(
  norm='rmsnorm', gated=True, activation='silu', tie_embeddings=False, init='normal'
)
LLAMA3 = dict(LLAMA, vocab_size=128_256, n_kv_heads=8, rotary_base=500_000.0)
LLAMA31 = dict(
  LLAMA3,
  max_seq_len=131_072,
  rotary_scaling='llama3',
  rotary_scaling_factor=8.0,
  rotary_original_max_seq_len=8192,
)
GEMMA = dict(
  LLAMA,
  activation='gelu_tanh',
  tie_embeddings=True,
  norm_unit_offset=True,
  norm_eps=1e-6,
  head_dim=256,
)
GEMMA2 = dict(
  GEMMA,
  vocab_size=256_000,
  max_seq_len=8192,
  norm_placement='sandwich',
  attention_logit_cap=50.0,
  logit_cap=30.0,
  attention_pattern=('local', 'global'),
  sliding_window=4096,
  attention_scale=256**-0.5,
)
QWEN2 = dict(LLAMA, norm_eps=1e-6, qkv_bias=True, rotary_base=1e6, max_seq_len=32_768)
QWEN3 = dict(
  LLAMA,
  vocab_size=151_936,
  norm_eps=1e-6,
  qk_norm='head',
  head_dim=128,
  n_kv_heads=8,
  rotary_base=1e6,
  max_seq_len=40_960,
)
BERT = dict(
  BIASES,
  architecture='encoder',
  position='learned',
  norm_placement='post',
  norm_eps=1e-12,
  embedding_norm=True,
  token_types=2,
  head_transform=True,
  head_bias=True,
  init='normal',
)
MODERNBERT = dict(
  architecture='encoder',
  vocab_size=50_368,
  max_seq_len=8192,
  gated=True,
  embedding_norm=True,
  first_attention_norm=False,
  attention_pattern=('global', 'local', 'local'),
  sliding_window=65,
  rotary_base=160_000.0,
  rotary_base_local=10_000.0,
  head_transform=True,
  head_transform_bias=False,
  head_bias=True,
  init='normal',
)
T5 = dict(
  architecture='encoder_decoder',
  vocab_size=32_128,
  max_seq_len=512,
  position='t5',
  norm='rmsnorm',
  norm_eps=1e-6,
  activation='relu',
  attention_scale=1.0,
  head_dim=64,
  init='fan_in',
)
T5_V1_1 = dict(T5, activation='gelu_tanh', gated=True, tie_embeddings=False)
FALCON = dict(
  vocab_size=65_024,
  max_seq_len=2048,
  norm_bias=True,
  parallel_residual=True,
  init='normal',
)
PHI = dict(
  BIASES,
  vocab_size=51_200,
  max_seq_len=2048,
  activation='gelu_tanh',
  parallel_residual=True,
  shared_norm=True,
  head_bias=True,
  tie_embeddings=False,
  init='normal',
)
DEEPSEEK = dict(
  LLAMA,
  norm_eps=1e-6,
  latent_norm_eps=1e-6,
  kv_latent_dim=512,
  head_dim=192,
  rotary_head_dim=64,
  value_head_dim=128,
  rotary_interleaved=True,
  rotary_scaling='yarn',
  rotary_scaling_factor=40.0,
  rotary_original_max_seq_len=4096,
  rotary_attention_factor=1.0,
)
OLMO2 = dict(
  LLAMA,
  vocab_size=100_352,
  max_seq_len=4096,
  norm_eps=1e-6,
  rotary_base=500_000.0,
  norm_placement='output',
  qk_norm='full',
)

PRESETS: dict[str, dict[str, Any]] = {
  # to train at home: nanoGPT's two character-level recipes, and lmhp's own sizes for bytes
  **_sizes(
    'vocab_size max_seq_len d_model n_layers n_heads',
    {
      'nanogpt-cpu': (65, 64, 128, 4, 4),
      'nanogpt-char': (65, 256, 384, 6, 6),
    },
    position='learned',
  ),
  **_sizes(
    'd_model n_layers n_heads',
    {
      'lmhp-1m': (128, 6, 4),
      'lmhp-10m': (384, 6, 6),
      'lmhp-30m': (512, 10, 8),
    },
    vocab_size=257,
    max_seq_len=512,
    norm='rmsnorm',
    gated=True,
    activation='silu',
  ),
  # OpenAI 2018; Radford et al. 2019; Brown et al. 2020, table 2.1, without its sparse layers; its 24 heads of 128 in
  # 2048 columns and its width 5140 are read as 16 heads and 5120, the only ones that fit
  'openai-gpt': dict(
    GPT,
    vocab_size=40_478,
    max_seq_len=512,
    d_model=768,
    n_layers=12,
    n_heads=12,
    norm_placement='post',
    init='normal',
  ),
  **_sizes(
    'd_model n_layers n_heads',
    {
      'gpt2': (768, 12, 12),
      'gpt2-medium': (1024, 24, 16),
      'gpt2-large': (1280, 36, 20),
      'gpt2-xl': (1600, 48, 25),
    },
    vocab_size=50_257,
    max_seq_len=1024,
    **GPT,
  ),
  **_sizes(
    'd_model n_layers n_heads',
    {
      'gpt3-125m': (768, 12, 12),
      'gpt3-350m': (1024, 24, 16),
      'gpt3-760m': (1536, 24, 16),
      'gpt3-1.3b': (2048, 24, 16),
      'gpt3-2.7b': (2560, 32, 32),
      'gpt3-6.7b': (4096, 32, 32),
      'gpt3-13b': (5120, 40, 40),
      'gpt3-175b': (12_288, 96, 96),
    },
    vocab_size=50_257,
    max_seq_len=2048,
    **GPT,
  ),
  **_sizes(
    'd_model n_layers n_heads',
    {  # arXiv:2304.03208
      'cerebras-gpt-111m': (768, 10, 12),
      'cerebras-gpt-256m': (1088, 14, 17),
      'cerebras-gpt-590m': (1536, 18, 12),
      'cerebras-gpt-1.3b': (2048, 24, 16),
      'cerebras-gpt-2.7b': (2560, 32, 32),
      'cerebras-gpt-6.7b': (4096, 32, 32),
      'cerebras-gpt-13b': (5120, 40, 40),
    },
    vocab_size=50_257,
    max_seq_len=2048,
    **(GPT | dict(activation='gelu')),
  ),
  # EleutherAI
  **_sizes(
    'd_model n_layers n_heads',
    {
      'gpt-neo-125m': (768, 12, 12),
      'gpt-neo-1.3b': (2048, 24, 16),
      'gpt-neo-2.7b': (2560, 32, 20),
    },
    vocab_size=50_257,
    max_seq_len=2048,
    attention_pattern=('global', 'local'),
    sliding_window=256,
    attention_scale=1.0,
    **(GPT | dict(qkv_bias=False, init='normal')),
  ),
  'gpt-j-6b': dict(
    PHI,
    vocab_size=50_400,
    d_model=4096,
    n_layers=28,
    n_heads=16,
    rotary_fraction=0.25,
    rotary_interleaved=True,
    qkv_bias=False,
    attention_output_bias=False,
  ),
  **_sizes(
    'd_model n_layers n_heads vocab_size',
    {  # arXiv:2204.06745, arXiv:2304.01373
      'pythia-14m': (128, 6, 4, 50_304),
      'pythia-31m': (256, 6, 8, 50_304),
      'pythia-70m': (512, 6, 8, 50_304),
      'pythia-160m': (768, 12, 12, 50_304),
      'pythia-410m': (1024, 24, 16, 50_304),
      'pythia-1b': (2048, 16, 8, 50_304),
      'pythia-1.4b': (2048, 24, 16, 50_304),
      'pythia-2.8b': (2560, 32, 32, 50_304),
      'pythia-6.9b': (4096, 32, 32, 50_432),
      'pythia-12b': (5120, 36, 40, 50_688),
      'gpt-neox-20b': (6144, 44, 64, 50_432, dict(activation='gelu_tanh')),
    },
    max_seq_len=2048,
    tie_embeddings=False,
    parallel_residual=True,
    rotary_fraction=0.25,
    init='normal',
    **BIASES,
  ),
  # Meta: arXiv:2205.01068, 2302.13971, 2307.09288, 2407.21783
  **_sizes(
    'd_model n_layers n_heads',
    {
      'opt-125m': (768, 12, 12),
      'opt-350m': (
        1024,
        24,
        16,
        dict(embedding_dim=512, norm_placement='post', final_norm=False),
      ),
      'opt-1.3b': (2048, 24, 32),
      'opt-2.7b': (2560, 32, 32),
      'opt-6.7b': (4096, 32, 32),
      'opt-13b': (5120, 40, 40),
      'opt-30b': (7168, 48, 56),
      'opt-66b': (9216, 64, 72),
    },
    vocab_size=50_272,
    max_seq_len=2048,
    position_offset=2,
    **(GPT | dict(activation='relu', init='normal')),
  ),
  **_sizes(
    'd_model n_layers n_heads d_ff max_seq_len norm_eps',
    {
      'llama-7b': (4096, 32, 32, 11_008, 2048, 1e-6),
      'llama-13b': (5120, 40, 40, 13_824, 2048, 1e-6),
      'llama-30b': (6656, 60, 52, 17_920, 2048, 1e-6),
      'llama-65b': (8192, 80, 64, 22_016, 2048, 1e-5),
      'llama-2-7b': (4096, 32, 32, 11_008, 4096, 1e-5),
      'llama-2-13b': (5120, 40, 40, 13_824, 4096, 1e-5),
      'llama-2-70b': (8192, 80, 64, 28_672, 4096, 1e-5, dict(n_kv_heads=8)),
      'tinyllama-1.1b': (2048, 22, 32, 5632, 2048, 1e-5, dict(n_kv_heads=4)),
    },
    vocab_size=32_000,
    **LLAMA,
  ),
  **_sizes(
    'd_model n_layers n_heads d_ff',
    {
      'llama-3-8b': (4096, 32, 32, 14_336),
      'llama-3-70b': (8192, 80, 64, 28_672),
    },
    max_seq_len=8192,
    **LLAMA3,
  ),
  **_sizes(
    'd_model n_layers n_heads d_ff',
    {
      'llama-3.1-8b': (4096, 32, 32, 14_336),
      'llama-3.1-70b': (8192, 80, 64, 28_672),
      'llama-3.1-405b': (16_384, 126, 128, 53_248),
      'llama-3.2-1b': (
        2048,
        16,
        32,
        8192,
        dict(rotary_scaling_factor=32.0, tie_embeddings=True),
      ),
      'llama-3.2-3b': (
        3072,
        28,
        24,
        8192,
        dict(rotary_scaling_factor=32.0, tie_embeddings=True),
      ),
    },
    **LLAMA31,
  ),
  # BigScience, arXiv:2211.05100; MosaicML; TII, arXiv:2311.16867
  **_sizes(
    'd_model n_layers n_heads',
    {
      'bloom-560m': (1024, 24, 16),
      'bloom-1b1': (1536, 24, 16),
      'bloom-1b7': (2048, 24, 16),
      'bloom-3b': (2560, 30, 32),
      'bloom-7b1': (4096, 30, 32),
      'bloom-176b': (14_336, 70, 112),
    },
    vocab_size=250_880,
    max_seq_len=2048,
    embedding_norm=True,
    **(GPT | dict(position='alibi', init='normal')),
  ),
  **_sizes(
    'd_model n_layers n_heads max_seq_len',
    {
      'mpt-7b': (4096, 32, 32, 2048),
      'mpt-30b': (7168, 48, 64, 8192),
    },
    vocab_size=50_432,
    position='alibi',
    init='normal',
  ),
  'falcon-7b': dict(
    FALCON, d_model=4544, n_layers=32, n_heads=71, n_kv_heads=1, shared_norm=True
  ),
  'falcon-40b': dict(FALCON, d_model=8192, n_layers=60, n_heads=128, n_kv_heads=8),
  'falcon-180b': dict(FALCON, d_model=14_848, n_layers=80, n_heads=232, n_kv_heads=8),
  # Mistral AI, arXiv:2310.06825
  **_sizes(
    'd_model n_layers n_heads d_ff vocab_size max_seq_len',
    {
      'mistral-7b': (
        4096,
        32,
        32,
        14_336,
        32_000,
        32_768,
        dict(attention_pattern=('local',), sliding_window=4096),
      ),
      'mistral-7b-v0.3': (4096, 32, 32, 14_336, 32_768, 32_768, dict(rotary_base=1e6)),
      'mistral-nemo-12b': (
        5120,
        40,
        32,
        14_336,
        131_072,
        131_072,
        dict(rotary_base=1e6, head_dim=128),
      ),
    },
    n_kv_heads=8,
    **LLAMA,
  ),
  # Qwen: arXiv:2412.15115, arXiv:2505.09388
  **_sizes(
    'd_model n_layers n_heads n_kv_heads d_ff vocab_size',
    {
      'qwen2.5-0.5b': (896, 24, 14, 2, 4864, 151_936, dict(tie_embeddings=True)),
      'qwen2.5-1.5b': (1536, 28, 12, 2, 8960, 151_936, dict(tie_embeddings=True)),
      'qwen2.5-3b': (2048, 36, 16, 2, 11_008, 151_936, dict(tie_embeddings=True)),
      'qwen2.5-7b': (3584, 28, 28, 4, 18_944, 152_064, dict(max_seq_len=131_072)),
      'qwen2.5-14b': (
        5120,
        48,
        40,
        8,
        13_824,
        152_064,
        dict(max_seq_len=131_072, norm_eps=1e-5),
      ),
      'qwen2.5-32b': (
        5120,
        64,
        40,
        8,
        27_648,
        152_064,
        dict(max_seq_len=131_072, norm_eps=1e-5),
      ),
      'qwen2.5-72b': (
        8192,
        80,
        64,
        8,
        29_568,
        152_064,
        dict(max_seq_len=131_072, norm_eps=1e-5),
      ),
    },
    **QWEN2,
  ),
  **_sizes(
    'd_model n_layers n_heads d_ff',
    {
      'qwen3-0.6b': (1024, 28, 16, 3072, dict(tie_embeddings=True)),
      'qwen3-1.7b': (2048, 28, 16, 6144, dict(tie_embeddings=True)),
      'qwen3-4b': (2560, 36, 32, 9728, dict(tie_embeddings=True)),
      'qwen3-8b': (4096, 36, 32, 12_288),
      'qwen3-14b': (5120, 40, 40, 17_408),
      'qwen3-32b': (5120, 64, 64, 25_600),
    },
    **QWEN3,
  ),
  # Google: arXiv:2403.08295, 2408.00118, 2503.19786
  **_sizes(
    'd_model n_layers n_heads n_kv_heads d_ff',
    {
      'gemma-2b': (2048, 18, 8, 1, 16_384, dict(embedding_scale=2048**0.5)),
      'gemma-7b': (3072, 28, 16, 16, 24_576, dict(embedding_scale=3072**0.5)),
    },
    vocab_size=256_000,
    max_seq_len=8192,
    **GEMMA,
  ),
  **_sizes(
    'd_model n_layers n_heads n_kv_heads d_ff',
    {
      'gemma-2-2b': (2304, 26, 8, 4, 9216, dict(embedding_scale=2304**0.5)),
      'gemma-2-9b': (3584, 42, 16, 8, 14_336, dict(embedding_scale=3584**0.5)),
      'gemma-2-27b': (
        4608,
        46,
        32,
        16,
        36_864,
        dict(embedding_scale=4608**0.5, head_dim=128, attention_scale=144**-0.5),
      ),
    },
    **GEMMA2,
  ),
  'gemma-3-1b': dict(
    GEMMA,
    vocab_size=262_144,
    max_seq_len=32_768,
    d_model=1152,
    n_layers=26,
    n_heads=4,
    n_kv_heads=1,
    d_ff=6912,
    norm_placement='sandwich',
    qk_norm='head',
    embedding_scale=1152**0.5,
    attention_scale=256**-0.5,
    attention_pattern=('local',) * 5 + ('global',),
    sliding_window=512,
    rotary_base=1e6,
    rotary_base_local=10_000.0,
  ),
  # Microsoft: arXiv:2309.05463, 2404.14219
  'phi-1.5': dict(PHI, d_model=2048, n_layers=24, n_heads=32, rotary_fraction=0.5),
  'phi-2': dict(PHI, d_model=2560, n_layers=32, n_heads=32, rotary_fraction=0.4),
  'phi-3-mini-4k': dict(
    LLAMA,
    vocab_size=32_064,
    max_seq_len=4096,
    d_model=3072,
    n_layers=32,
    n_heads=32,
    d_ff=8192,
    attention_pattern=('local',),
    sliding_window=2047,
  ),
  'phi-4': dict(
    LLAMA,
    vocab_size=100_352,
    max_seq_len=16_384,
    d_model=5120,
    n_layers=40,
    n_heads=40,
    n_kv_heads=10,
    d_ff=17_920,
    rotary_base=250_000.0,
  ),
  # AI2: arXiv:2402.00838, 2501.00656
  **_sizes(
    'd_model n_layers n_heads d_ff tie_embeddings',
    {
      'olmo-1b': (2048, 16, 16, 8192, True),
      'olmo-7b': (4096, 32, 32, 11_008, False),
    },
    vocab_size=50_304,
    max_seq_len=2048,
    **(LLAMA | dict(norm='layernorm', norm_affine=False)),
  ),
  **_sizes(
    'd_model n_layers n_heads d_ff',
    {
      'olmo-2-1b': (2048, 16, 16, 8192),
      'olmo-2-7b': (4096, 32, 32, 11_008),
      'olmo-2-13b': (5120, 40, 40, 13_824),
      'olmo-2-32b': (5120, 64, 40, 27_648, dict(n_kv_heads=8)),
    },
    **OLMO2,
  ),
  # Stability AI; BigCode, arXiv:2301.03988, 2305.06161, 2402.19173; Hugging Face, arXiv:2502.02737
  **_sizes(
    'd_model n_layers n_heads d_ff vocab_size qkv_bias',
    {
      'stablelm-3b-4e1t': (2560, 32, 32, 6912, 50_304, False),
      'stablelm-2-1.6b': (2048, 24, 32, 5632, 100_352, True),
    },
    max_seq_len=4096,
    norm_bias=True,
    rotary_fraction=0.25,
    **(LLAMA | dict(norm='layernorm')),
  ),
  'santacoder': dict(
    GPT,
    vocab_size=49_280,
    max_seq_len=2048,
    d_model=2048,
    n_layers=24,
    n_heads=16,
    n_kv_heads=1,
  ),
  'starcoder': dict(
    GPT,
    vocab_size=49_152,
    max_seq_len=8192,
    d_model=6144,
    n_layers=40,
    n_heads=48,
    n_kv_heads=1,
  ),
  **_sizes(
    'd_model n_layers n_heads n_kv_heads rotary_base',
    {
      'starcoder2-3b': (3072, 30, 24, 2, 999_999.4420358813),
      'starcoder2-7b': (4608, 32, 36, 4, 1e6),
    },
    vocab_size=49_152,
    max_seq_len=16_384,
    activation='gelu_tanh',
    attention_pattern=('local',),
    sliding_window=4096,
    init='normal',
    **BIASES,
  ),
  **_sizes(
    'd_model n_layers n_heads n_kv_heads d_ff max_seq_len rotary_base',
    {
      'smollm2-135m': (576, 30, 9, 3, 1536, 8192, 100_000.0),
      'smollm2-360m': (960, 32, 15, 5, 2560, 8192, 100_000.0),
      'smollm2-1.7b': (2048, 24, 32, 32, 8192, 8192, 130_000.0),
    },
    vocab_size=49_152,
    **(LLAMA | dict(tie_embeddings=True)),
  ),
  'smollm3-3b': dict(
    LLAMA,
    vocab_size=128_256,
    max_seq_len=65_536,
    d_model=2048,
    n_layers=36,
    n_heads=16,
    n_kv_heads=4,
    d_ff=11_008,
    norm_eps=1e-6,
    rotary_base=5e6,
    no_position_every=4,
    tie_embeddings=True,
  ),
  # experts: arXiv:2401.04088, 2505.09388, 2409.02060, 2405.04434, 2412.19437, 2508.10925; Meta's card of Llama 4
  **_sizes(
    'd_model n_layers n_heads d_ff max_seq_len vocab_size',
    {
      'mixtral-8x7b': (4096, 32, 32, 14_336, 32_768, 32_000),
      'mixtral-8x22b': (6144, 56, 48, 16_384, 65_536, 32_768),
    },
    n_kv_heads=8,
    rotary_base=1e6,
    n_experts=8,
    experts_per_token=2,
    **LLAMA,
  ),
  **_sizes(
    'd_model n_layers n_heads d_ff d_ff_expert',
    {
      'qwen3-30b-a3b': (2048, 48, 32, 6144, 768),
      'qwen3-235b-a22b': (4096, 94, 64, 12_288, 1536),
    },
    n_experts=128,
    experts_per_token=8,
    **(QWEN3 | dict(n_kv_heads=4)),
  ),
  'olmoe-1b-7b': dict(
    LLAMA,
    vocab_size=50_304,
    max_seq_len=4096,
    d_model=2048,
    n_layers=16,
    n_heads=16,
    d_ff=1024,
    qk_norm='full',
    n_experts=64,
    experts_per_token=8,
    router_normalize=False,
  ),
  'deepseek-v2-lite': dict(
    DEEPSEEK,
    vocab_size=102_400,
    max_seq_len=163_840,
    d_model=2048,
    n_layers=27,
    n_heads=16,
    d_ff=10_944,
    d_ff_expert=1408,
    n_experts=64,
    experts_per_token=6,
    n_shared_experts=2,
    n_dense_layers=1,
    router_normalize=False,
    attention_scale=192**-0.5 * (0.0707 * math.log(40) + 1) ** 2,
  ),
  'deepseek-v2': dict(
    DEEPSEEK,
    vocab_size=102_400,
    max_seq_len=163_840,
    d_model=5120,
    n_layers=60,
    n_heads=128,
    d_ff=12_288,
    d_ff_expert=1536,
    n_experts=160,
    experts_per_token=6,
    n_shared_experts=2,
    n_dense_layers=1,
    query_latent_dim=1536,
    router_normalize=False,
    router_scale=16.0,
    router_groups=8,
    router_groups_per_token=3,
    attention_scale=192**-0.5 * (0.0707 * math.log(40) + 1) ** 2,
  ),
  'deepseek-v3': dict(
    DEEPSEEK,
    vocab_size=129_280,
    max_seq_len=163_840,
    d_model=7168,
    n_layers=61,
    n_heads=128,
    d_ff=18_432,
    d_ff_expert=2048,
    n_experts=256,
    experts_per_token=8,
    n_shared_experts=1,
    n_dense_layers=3,
    query_latent_dim=1536,
    router_score='sigmoid',
    router_correction=True,
    router_scale=2.5,
    router_groups=8,
    router_groups_per_token=4,
    router_group_score='top2',
    attention_scale=192**-0.5 * (0.1 * math.log(40) + 1) ** 2,
  ),
  **_sizes(
    'n_layers n_experts',
    {
      'gpt-oss-20b': (24, 32),
      'gpt-oss-120b': (36, 128),
    },
    vocab_size=201_088,
    max_seq_len=131_072,
    d_model=2880,
    n_heads=64,
    n_kv_heads=8,
    head_dim=64,
    d_ff=2880,
    experts_per_token=4,
    qkv_bias=True,
    attention_output_bias=True,
    feed_forward_bias=True,
    router_bias=True,
    attention_sinks=True,
    gate_clip=7.0,
    gate_offset=1.0,
    attention_pattern=('local', 'global'),
    sliding_window=128,
    rotary_base=150_000.0,
    rotary_scaling='yarn',
    rotary_scaling_factor=32.0,
    rotary_original_max_seq_len=4096,
    rotary_truncate=False,
    **(LLAMA | dict(activation='quick_gelu')),
  ),
  **_sizes(
    'n_experts experts_every max_seq_len d_ff qk_norm',
    {
      'llama-4-scout': (
        16,
        1,
        10_485_760,
        16_384,
        'l2',
        dict(
          rotary_scaling='llama3',
          rotary_scaling_factor=16.0,
          rotary_original_max_seq_len=8192,
          rotary_high_frequency_factor=1.0,
        ),
      ),
      'llama-4-maverick': (128, 2, 1_048_576, 16_384, 'none'),
    },
    vocab_size=202_048,
    d_model=5120,
    n_layers=48,
    n_heads=40,
    n_kv_heads=8,
    head_dim=128,
    d_ff_expert=8192,
    experts_per_token=1,
    n_shared_experts=1,
    router_score='sigmoid',
    router_normalize=False,
    expert_input_scaled=True,
    rotary_base=500_000.0,
    rotary_interleaved=True,
    no_position_every=4,
    attention_chunk=8192,
    attention_pattern=('local', 'local', 'local', 'global'),
    attention_temperature=0.1,
    **LLAMA,
  ),
  # encoders: arXiv:1810.04805, 1907.11692, 1909.11942, 2412.13663, each with its masked-language-model head
  **_sizes(
    'd_model n_layers n_heads',
    {
      'bert-tiny': (128, 2, 2),
      'bert-mini': (256, 4, 4),
      'bert-small': (512, 4, 8),
      'bert-medium': (512, 8, 8),
      'bert-base': (768, 12, 12),
      'bert-large': (1024, 24, 16),
    },
    vocab_size=30_522,
    max_seq_len=512,
    **BERT,
  ),
  **_sizes(
    'd_model n_layers n_heads',
    {
      'roberta-base': (768, 12, 12),
      'roberta-large': (1024, 24, 16),
    },
    vocab_size=50_265,
    max_seq_len=512,
    position_offset=2,
    **(BERT | dict(norm_eps=1e-5, token_types=1)),
  ),
  **_sizes(
    'd_model n_layers n_heads d_ff',
    {
      'albert-base-v2': (768, 12, 12, 3072),
      'albert-large-v2': (1024, 24, 16, 4096),
      'albert-xlarge-v2': (2048, 24, 16, 8192),
      'albert-xxlarge-v2': (4096, 12, 64, 16_384),
    },
    vocab_size=30_000,
    max_seq_len=512,
    embedding_dim=128,
    embedding_projection='sum',
    share_layers=True,
    activation='gelu_tanh',
    **BERT,
  ),
  **_sizes(
    'd_model n_layers n_heads d_ff',
    {
      'modernbert-base': (768, 22, 12, 1152),
      'modernbert-large': (1024, 28, 16, 2624),
    },
    **MODERNBERT,
  ),
  # encoder-decoders: arXiv:1910.10683, and the version 1.1 released after it
  **_sizes(
    'd_model n_layers n_heads d_ff logit_scale',
    {
      't5-small': (512, 6, 8, 2048, 512**-0.5),
      't5-base': (768, 12, 12, 3072, 768**-0.5),
      't5-large': (1024, 24, 16, 4096, 1024**-0.5),
      't5-3b': (1024, 24, 32, 16_384, 1024**-0.5, dict(head_dim=128)),
      't5-11b': (1024, 24, 128, 65_536, 1024**-0.5, dict(head_dim=128)),
    },
    **T5,
  ),
  **_sizes(
    'd_model n_layers n_heads d_ff',
    {
      't5-v1.1-small': (512, 8, 6, 1024),
      't5-v1.1-base': (768, 12, 12, 2048),
      't5-v1.1-large': (1024, 24, 16, 2816),
      't5-v1.1-xl': (2048, 24, 32, 5120),
      't5-v1.1-xxl': (4096, 24, 64, 10_240),
    },
    **T5_V1_1,
  ),
  # NVIDIA, arXiv:2402.16819, 2407.14679; IBM; Cohere; Zhipu AI, arXiv:2406.12793
  **_sizes(
    'd_model n_layers n_heads n_kv_heads d_ff',
    {
      'nemotron-4-340b': (18_432, 96, 96, 8, 73_728),
      'minitron-4b': (3072, 32, 24, 8, 9216, dict(head_dim=128)),
    },
    vocab_size=256_000,
    max_seq_len=4096,
    tie_embeddings=False,
    activation='relu_squared',
    norm_bias=True,
    norm_unit_offset=True,
    rotary_fraction=0.5,
    init='normal',
  ),
  **_sizes(
    'd_model d_ff attention_scale logit_scale',
    {
      'granite-3.0-2b': (2048, 8192, 0.015625, 1 / 8),
      'granite-3.0-8b': (4096, 12_800, 0.0078125, 1 / 16),
    },
    vocab_size=49_155,
    max_seq_len=4096,
    n_layers=40,
    n_heads=32,
    n_kv_heads=8,
    embedding_scale=12.0,
    residual_scale=0.22,
    **(LLAMA | dict(tie_embeddings=True)),
  ),
  'command-r-35b': dict(
    LLAMA,
    vocab_size=256_000,
    max_seq_len=131_072,
    d_model=8192,
    n_layers=40,
    n_heads=64,
    d_ff=22_528,
    norm='layernorm',
    parallel_residual=True,
    shared_norm=True,
    tie_embeddings=True,
    rotary_interleaved=True,
    rotary_base=8e6,
    logit_scale=0.0625,
  ),
  'glm-4-9b': dict(
    LLAMA,
    vocab_size=151_552,
    max_seq_len=8192,
    d_model=4096,
    n_layers=40,
    n_heads=32,
    n_kv_heads=2,
    d_ff=13_696,
    norm_eps=1.5625e-07,
    qkv_bias=True,
    rotary_fraction=0.5,
    rotary_interleaved=True,
  ),
}


def preset(name: str) -> ModelConfig:
  """The `ModelConfig` of a published model.

  Args:
    name: one of `PRESETS`, in any case.

  Raises:
    ConfigError: where there is none of that name, with the nearest.

  >>> preset('GPT2').d_model
  768
  """
  if str(name).lower() not in PRESETS:
    near = suggest(str(name).lower(), PRESETS)
    raise ConfigError(
      f'preset: got {name!r}, expected one of the {len(PRESETS)} in lmhp.model.presets{near}'
    )
  return ModelConfig(**PRESETS[str(name).lower()])
