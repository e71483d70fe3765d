"""Mixture of experts: a router sends each token through k of E feed-forward parts, none dropped, and through shared ones.

Source: arXiv:1701.06538; arXiv:2401.04088 (Mixtral); arXiv:2401.06066, 2405.04434, 2412.19437 (DeepSeek: shared experts,
groups, balance without a loss). Dimension key: T tokens, k experts of a token, E experts, J groups of experts.
"""

from __future__ import annotations

from collections import Counter
import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from lmhp.model.config import ModelConfig
from lmhp.model.counts import matmul_flops, parameter_count
from lmhp.model.feed_forward import FeedForward, apply_activation
from lmhp.model.grouped_product import by_expert
from lmhp.model.projection import Projection, linear


class ExpertProjection(nn.Module):
  """The linear maps of all experts: one matrix each, and a bias.

  Attributes:
    shape: (E, inputs, outputs).
    use_bias: whether biases are added.
  """

  shape: tuple[int, int, int]
  use_bias: bool

  @nn.compact
  def __call__(self) -> tuple[jax.Array, jax.Array | None]:
    kernel = self.param('kernel', nn.initializers.zeros_init(), self.shape)
    if not self.use_bias:
      return kernel, None
    return kernel, self.param(
      'bias', nn.initializers.zeros_init(), (self.shape[0], self.shape[2])
    )


class Experts(nn.Module):
  """The sum of a token's k experts, each times its share, and of the shared experts."""

  cfg: ModelConfig

  @nn.compact
  def __call__(self, x_BLD: jax.Array) -> tuple[jax.Array, dict[str, jax.Array]]:
    """(B, L, D) float32, and what `aux` says of one layer: see `balance`."""
    cfg = self.cfg
    x_TD = x_BLD.reshape(-1, cfg.d_model)
    router = Projection(
      cfg, (cfg.d_model,), (cfg.n_experts,), cfg.router_bias, name='router'
    )
    (logits_TE,) = linear(
      x_TD, (router.matrix(),), 'float32'
    )  # small, and what is chosen hangs on its last bits
    logits_TE = router.finish(logits_TE, logits_TE.shape[:1])
    correction_E = None
    if cfg.router_correction:
      correction_E = self.param(
        'correction', nn.initializers.zeros_init(), (cfg.n_experts,)
      )
    scores_TE, shares_Tk, experts_Tk = route(cfg, logits_TE, correction_E)

    into, out = (
      (cfg.n_experts, cfg.d_model, cfg.d_ff_expert),
      (cfg.n_experts, cfg.d_ff_expert, cfg.d_model),
    )
    names = ('gate', 'up') if cfg.gated else ('up',)
    weights = {
      'into': tuple(
        ExpertProjection(into, cfg.feed_forward_bias, name=name)() for name in names
      ),
      'down': ExpertProjection(out, cfg.feed_forward_bias, name='down')(),
    }
    activate = _activation(cfg.activation, cfg.gated, cfg.gate_clip, cfg.gate_offset)
    if cfg.expert_input_scaled:
      k = cfg.experts_per_token
      rows = (x_TD[:, None] * shares_Tk[..., None]).reshape(-1, cfg.d_model)
      y_TD = by_expert(
        rows,
        experts_Tk.reshape(-1, 1),
        weights,
        activate,
        cfg.dtype,
        cfg.expert_backend,
      )
      y_TD = jnp.sum(y_TD.reshape(-1, k, cfg.d_model), axis=1)
    else:
      y_TkD = by_expert(
        x_TD, experts_Tk, weights, activate, cfg.dtype, cfg.expert_backend
      )
      y_TD = jnp.sum(y_TkD * shares_Tk[..., None], axis=1)
    y_BLD = y_TD.reshape(x_BLD.shape)
    if cfg.n_shared_experts:
      y_BLD = y_BLD + FeedForward(
        cfg, cfg.n_shared_experts * cfg.d_ff_expert, name='shared'
      )(x_BLD)
    return y_BLD, balance(logits_TE, scores_TE, experts_Tk)


@functools.cache
def _activation(activation: str, gated: bool, clip: float | None, offset: float):
  """One function for each structure, so that programs of equal structure are one."""
  return lambda into: apply_activation(into, activation, gated, clip, offset)


def route(cfg: ModelConfig, logits_TE: jax.Array, correction_E: jax.Array | None):
  """Which experts a token goes through, and how much each counts.

  Args:
    cfg: the router's structure. Scores are the softmax, or the sigmoid, of the logits. Where there are groups of
      experts, the best groups alone take part: by their best score, or by the sum of their two best.
    logits_TE: (T, E) float32.
    correction_E: added to scores where experts are chosen, not where they are weighed (arXiv:2408.15664); or None.

  Returns:
    Scores (T, E), shares (T, k), experts (T, k) int32.
  """
  scores_TE = (
    jax.nn.softmax(logits_TE)
    if cfg.router_score == 'softmax'
    else jax.nn.sigmoid(logits_TE)
  )
  choice_TE = (
    scores_TE
    if correction_E is None
    else scores_TE + jax.lax.stop_gradient(correction_E)[None]
  )
  if cfg.router_groups > 1:
    choice_TJE = choice_TE.reshape(
      -1, cfg.router_groups, cfg.n_experts // cfg.router_groups
    )
    n_best = 2 if cfg.router_group_score == 'top2' else 1
    best_TJ = jnp.sum(jax.lax.top_k(choice_TJE, n_best)[0], axis=-1)
    _, groups = jax.lax.top_k(best_TJ, cfg.router_groups_per_token)
    taken_TJ = jnp.any(jax.nn.one_hot(groups, cfg.router_groups, dtype=bool), axis=1)
    choice_TE = jnp.where(
      jnp.broadcast_to(taken_TJ[..., None], choice_TJE.shape), choice_TJE, -jnp.inf
    ).reshape(choice_TE.shape)
  _, experts_Tk = jax.lax.top_k(choice_TE, cfg.experts_per_token)
  shares_Tk = jnp.take_along_axis(scores_TE, experts_Tk, axis=1)
  if cfg.router_normalize:
    shares_Tk = shares_Tk / (jnp.sum(shares_Tk, axis=1, keepdims=True) + 1e-20)
  return scores_TE, shares_Tk * cfg.router_scale, experts_Tk.astype(jnp.int32)


def balance(
  logits_TE: jax.Array, scores_TE: jax.Array, experts_Tk: jax.Array
) -> dict[str, jax.Array]:
  """What a layer says of its routing.

  Returns:
    `expert_load` (E,), the share of choices that fell on each expert; `load_balance`, E sum_e load_e P_e with P the mean
    score, 1 where all is even; `router_z`, the mean squared log of the router's partition function.

  Source: arXiv:2101.03961 equations 4 to 6; arXiv:2202.08906 equation 5.
  """
  n_experts = logits_TE.shape[1]
  load_E = jnp.mean(jax.nn.one_hot(experts_Tk.reshape(-1), n_experts), axis=0)
  scores_TE = scores_TE / jnp.sum(scores_TE, axis=1, keepdims=True)
  return {
    'expert_load': load_E,
    'load_balance': n_experts * jnp.sum(load_E * jnp.mean(scores_TE, axis=0)),
    'router_z': jnp.mean(jnp.square(jax.nn.logsumexp(logits_TE, axis=1))),
  }


def objective(aux: dict[str, Any], hypers: dict) -> jax.Array:
  """What routing adds to the mean loss, nats: the mean over layers of both losses, each times its coefficient."""
  layers = lambda name: jnp.concatenate([segment[name] for segment in aux.values()])
  return hypers['load_balance_loss'] * jnp.mean(layers('load_balance')) + hypers[
    'router_z_loss'
  ] * jnp.mean(layers('router_z'))


def corrected(params: Any, aux: dict[str, Any], hypers: dict) -> Any:
  """Parameters whose corrections have moved against the load: up where an expert had less than its share, else down.

  Source: arXiv:2408.15664 algorithm 1; arXiv:2412.19437 section 2.1.2.
  """
  params = jax.tree.map(lambda x: x, params)
  for path, segment in aux.items():
    stack, name = path.split('/')
    part = params[stack][name]['experts']
    if 'correction' in part:
      load_NE = segment['expert_load']
      part['correction'] = part['correction'] + hypers[
        'router_correction_rate'
      ] * jnp.sign(1 / load_NE.shape[-1] - load_NE)
  return params


def parameter_counts(cfg: ModelConfig) -> Counter:
  """Parameters by kind of one layer's experts, its router with them; a correction is no parameter."""
  return Counter(
    feed_forward=_router(cfg)
    + cfg.n_experts * _one(cfg, cfg.d_ff_expert)
    + (_one(cfg, cfg.n_shared_experts * cfg.d_ff_expert) if cfg.n_shared_experts else 0)
  )


def inactive(cfg: ModelConfig) -> int:
  """Parameters of one layer that a token does not pass through."""
  return (cfg.n_experts - cfg.experts_per_token) * _one(cfg, cfg.d_ff_expert)


def _router(cfg: ModelConfig) -> int:
  return parameter_count(cfg.d_model, cfg.n_experts, cfg.router_bias)


def _one(cfg: ModelConfig, width: int) -> int:
  """Parameters of one feed-forward part of this width."""
  bias = cfg.feed_forward_bias
  return (1 + cfg.gated) * parameter_count(cfg.d_model, width, bias) + parameter_count(
    width, cfg.d_model, bias
  )


def weight_flops(cfg: ModelConfig) -> Counter:
  """Forward matrix-product FLOPs by kind of one layer, for one token: the router, its k experts, the shared ones."""
  width = (cfg.experts_per_token + cfg.n_shared_experts) * cfg.d_ff_expert
  return Counter(
    feed_forward=matmul_flops(cfg.d_model, cfg.n_experts)
    + (2 + cfg.gated) * matmul_flops(cfg.d_model, width)
  )
