"""Parameters and FLOPs of a layer's experts. This file imports no jax."""

from __future__ import annotations

from collections import Counter

from lmhp.model.config import ModelConfig
from lmhp.model.counts import matmul_flops, parameter_count


def parameter_counts(cfg: ModelConfig) -> Counter[str]:
  """Returns the parameters of one layer's experts by kind, those of its router included.

  The correction of the router is not trained by gradients, so it is not counted.
  """
  router = parameter_count(cfg.d_model, cfg.n_experts, cfg.router_bias)
  routed = cfg.n_experts * _feed_forward_parameters(cfg, cfg.d_ff_expert)
  shared = 0
  if cfg.n_shared_experts:
    shared = _feed_forward_parameters(cfg, cfg.n_shared_experts * cfg.d_ff_expert)
  return Counter(feed_forward=router + routed + shared)


def inactive_parameters(cfg: ModelConfig) -> int:
  """Returns the parameters of one layer that a token does not use."""
  n_inactive = cfg.n_experts - cfg.experts_per_token
  return n_inactive * _feed_forward_parameters(cfg, cfg.d_ff_expert)


def weight_flops(cfg: ModelConfig) -> Counter[str]:
  """Returns the forward FLOPs of one layer's matrix products by kind, for one token.

  The products are those of the router, of the experts of the token and of the shared experts.
  """
  n_matrices = 3 if cfg.gated else 2
  width = (cfg.experts_per_token + cfg.n_shared_experts) * cfg.d_ff_expert
  router = matmul_flops(cfg.d_model, cfg.n_experts)
  return Counter(feed_forward=router + n_matrices * matmul_flops(cfg.d_model, width))


def _feed_forward_parameters(cfg: ModelConfig, width: int) -> int:
  """Returns the parameters of one feed-forward part with a hidden size of `width`."""
  n_inputs = 2 if cfg.gated else 1
  up = parameter_count(cfg.d_model, width, cfg.feed_forward_bias)
  down = parameter_count(width, cfg.d_model, cfg.feed_forward_bias)
  return n_inputs * up + down
