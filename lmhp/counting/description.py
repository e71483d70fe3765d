"""What `lmhp count` says of a model: one dict for a program, one table for a person."""

from __future__ import annotations

from typing import Any

from lmhp.counting.flops import flops_per_token
from lmhp.counting.hardware import cost_usd, time_seconds
from lmhp.counting.hardware import device as device_named
from lmhp.counting.memory import (
  activation_bytes_by_policy,
  cache_bytes_per_token,
  optimizer_bytes,
  parameter_bytes,
)
from lmhp.counting.parameters import count
from lmhp.errors import ConfigError
from lmhp.model.config import ModelConfig
from lmhp.params import KINDS

TOKENS_PER_PARAMETER = 20
"""Training tokens where none are said. Source: arXiv:2203.15556 (Chinchilla)."""


def describe(
  name: str,
  cfg: ModelConfig,
  *,
  seq_len: int | None = None,
  batch_size: int | None = None,
  device: str | None = None,
  utilization: float = 0.4,
  tokens: float | None = None,
) -> dict[str, Any]:
  """Counts one model.

  Args:
    name: what the model is called.
    cfg: the model; `vocab_size` must be set.
    seq_len: tokens in a sequence; None is the model's context.
    batch_size: sequences in a step: adds activations by remat policy.
    device: a name of `hardware.DEVICES`: adds time and cost of training.
    utilization: share of the device's peak that training reaches.
    tokens: training tokens for time and cost; None is 20 for each parameter.

  Returns:
    Counts are parameters, `*_bytes` bytes, FLOPs per token under both conventions of attention.
  """
  seq_len = seq_len or cfg.max_seq_len
  if seq_len > cfg.max_seq_len and cfg.position == 'learned':
    raise ConfigError(
      f'seq_len: got {seq_len}, expected at most the {cfg.max_seq_len} positions of {name}'
    )
  counts = count(cfg)
  flops = {
    convention: flops_per_token(cfg, seq_len, convention == 'causal')
    for convention in ('causal', 'full')
  }
  out = {
    'name': name,
    'total': counts.total,
    'active': counts.active,
    'active_excluding_embedding': counts.active_excluding_embedding,
    'non_embedding': counts.non_embedding,
    'by_kind': {kind: counts.by_kind[kind] for kind in KINDS},
    'seq_len': seq_len,
    'flops_per_token_forward': {c: f.forward for c, f in flops.items()},
    'flops_per_token_train': {c: f.train for c, f in flops.items()},
    'kv_cache_bytes_per_token': cache_bytes_per_token(cfg, seq_len),
    'parameter_bytes': {'float32': 4 * counts.total, 'bfloat16': 2 * counts.total},
    'gradient_bytes': parameter_bytes(counts),
    'optimizer_bytes': optimizer_bytes(counts),
  }
  if batch_size is not None:
    out |= {
      'batch_size': batch_size,
      'activation_bytes': activation_bytes_by_policy(cfg, batch_size, seq_len),
    }
  if device is not None:
    out['training'] = _training(
      flops['causal'].train, counts.total, device, utilization, tokens
    )
  return out


def _training(
  flops: float, parameters: int, device: str, utilization: float, tokens: float | None
) -> dict[str, Any]:
  """Time and cost of a training run on one device."""
  tokens = TOKENS_PER_PARAMETER * parameters if tokens is None else tokens
  hardware = device_named(device)
  seconds = time_seconds(flops * tokens, hardware, utilization)
  return {
    'device': hardware.name,
    'utilization': utilization,
    'tokens': tokens,
    'flops': flops * tokens,
    'device_seconds': seconds,
    'cost_usd': cost_usd(seconds, hardware),
  }
