"""Parameters and FLOPs of linear maps, normalizations, feed-forward parts and experts.

This file imports no jax.
"""

from __future__ import annotations

from collections import Counter

from lmhp.model.config import ModelConfig


def parameter_count(inputs: int, outputs: int, bias: bool) -> int:
  """Returns the number of parameters of a linear map.

  Args:
    inputs: Size of the input.
    outputs: Size of the output.
    bias: True if the map has a bias.
  """
  return inputs * outputs + bias * outputs


def matmul_flops(inputs: int, outputs: int) -> int:
  """Returns the forward FLOPs of a linear map for one token.

  A multiply-add is two FLOPs. A bias is not counted.

  Args:
    inputs: Size of the input.
    outputs: Size of the output.
  """
  return 2 * inputs * outputs


def norm_size(cfg: ModelConfig, width: int, bias: bool = True) -> int:
  """Returns the number of parameters of one normalization.

  Args:
    cfg: Config of the model.
    width: Size of the normalized axis.
    bias: If False, the normalization has no bias, even if `model.norm_bias` is True.
  """
  return width * (cfg.norm_affine + (cfg.norm_bias and bias))


# --- feed-forward part and experts of one layer -------------------------------------


def feed_forward_parameters(cfg: ModelConfig, width: int) -> int:
  """Returns the number of parameters of a feed-forward part with hidden size `width`."""
  up = parameter_count(cfg.d_model, width, cfg.feed_forward_bias)
  down = parameter_count(width, cfg.d_model, cfg.feed_forward_bias)
  # A gate has the shape of `up`.
  return (1 + cfg.gated) * up + down


def feed_forward_parameter_counts(cfg: ModelConfig, has_experts: bool) -> Counter[str]:
  """Returns {kind: number of parameters} of the feed-forward part or the experts of one layer.

  The router of experts is included, except its correction (`model.router_correction`), because
  it is not trained by gradients.
  """
  if not has_experts:
    return Counter(feed_forward=feed_forward_parameters(cfg, cfg.d_ff))
  router = parameter_count(cfg.d_model, cfg.n_experts, cfg.router_bias)
  routed = cfg.n_experts * feed_forward_parameters(cfg, cfg.d_ff_expert)
  # The shared experts are one feed-forward part of their joint hidden size.
  shared = 0
  if cfg.n_shared_experts:
    shared = feed_forward_parameters(cfg, cfg.n_shared_experts * cfg.d_ff_expert)
  return Counter(feed_forward=router + routed + shared)


def feed_forward_flops(cfg: ModelConfig, has_experts: bool) -> Counter[str]:
  """Returns {kind: forward FLOPs} of the matrix products of one layer, for one token.

  With experts, the products are those of the router, of the experts of the token and of the
  shared experts.
  """
  width = cfg.d_ff
  router = 0
  if has_experts:
    width = (cfg.experts_per_token + cfg.n_shared_experts) * cfg.d_ff_expert
    router = matmul_flops(cfg.d_model, cfg.n_experts)
  # `up`, `down`, and `gate` if there is one.
  return Counter(
    feed_forward=router + (2 + cfg.gated) * matmul_flops(cfg.d_model, width)
  )
