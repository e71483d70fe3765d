"""The flax modules of a mixture of experts.

A router sends each token to k of E feed-forward parts (experts), and to shared experts that
all tokens use. No token is dropped.

Source: arXiv:1701.06538; arXiv:2401.04088 (Mixtral); arXiv:2401.06066, 2405.04434 and
2412.19437 (DeepSeek: shared experts, groups, balance without a loss).
"""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp

from lmhp.model.config import ModelConfig
from lmhp.model.experts.expert_weights import ExpertMap, ExpertWeights
from lmhp.model.experts.grouped_product import apply_experts
from lmhp.model.experts.routing import Routing, route, routing_metrics
from lmhp.model.feed_forward import FeedForward, input_activation
from lmhp.model.projection import Projection, linear


class ExpertProjection(nn.Module):
  """Parameters of one linear map of all experts. The module does not apply the map.

  Attributes:
    shape: (E, I, O): number of experts, size of the input and size of the output.
    use_bias: True if the map of each expert has a bias.
  """

  shape: tuple[int, int, int]
  use_bias: bool

  @nn.compact
  def __call__(self) -> ExpertMap:
    """Returns the parameters."""
    n_experts, _, outputs = self.shape
    kernel = self.param('kernel', nn.initializers.zeros_init(), self.shape)
    bias = None
    if self.use_bias:
      bias = self.param('bias', nn.initializers.zeros_init(), (n_experts, outputs))
    return ExpertMap(kernel, bias)


class Experts(nn.Module):
  """The weighted sum of a token's k experts, plus the shared experts."""

  cfg: ModelConfig

  @nn.compact
  def __call__(self, x_BLD: jax.Array) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Returns the output, (B, L, D) float32, and the `routing_metrics` of this layer."""
    cfg = self.cfg
    x_TD = x_BLD.reshape(-1, cfg.d_model)
    logits_TE, routing = self._route(x_TD)
    weights = self._expert_weights()
    activate = input_activation(
      cfg.activation, cfg.gated, cfg.gate_clip, cfg.gate_offset
    )

    rows = x_TD
    experts = routing.experts_Tk
    if cfg.expert_input_scaled:
      # Each pair of a token and a chosen expert gets its own row, with one expert: the token,
      # multiplied by the router's weight of that expert.
      rows = (x_TD[:, None] * routing.weights_Tk[..., None]).reshape(-1, cfg.d_model)
      experts = experts.reshape(-1, 1)
    y = apply_experts(rows, experts, weights, activate, cfg.dtype, cfg.expert_backend)
    y_TkD = y.reshape(-1, cfg.experts_per_token, cfg.d_model)
    if not cfg.expert_input_scaled:
      y_TkD = y_TkD * routing.weights_Tk[..., None]
    y_BLD = jnp.sum(y_TkD, axis=1).reshape(x_BLD.shape)
    if cfg.n_shared_experts:
      width = cfg.n_shared_experts * cfg.d_ff_expert
      y_BLD = y_BLD + FeedForward(cfg, width, name='shared')(x_BLD)
    return y_BLD, routing_metrics(logits_TE, routing)

  def _route(self, x_TD: jax.Array) -> tuple[jax.Array, Routing]:
    """Returns the logits of the router, (T, E), and the experts and weights of each token."""
    cfg = self.cfg
    router = Projection(
      cfg, (cfg.d_model,), (cfg.n_experts,), cfg.router_bias, name='router'
    )
    # The choice of experts depends on the last bits of the logits, and the router is small. So
    # the product is in float32 for any compute dtype. `finish` adds the bias.
    (logits_TE,) = linear(x_TD, (router.matrix(),), 'float32')
    logits_TE = router.finish(logits_TE, logits_TE.shape[:1])

    correction_E = None
    if cfg.router_correction:
      correction_E = self.param(
        'correction', nn.initializers.zeros_init(), (cfg.n_experts,)
      )
    return logits_TE, route(cfg, logits_TE, correction_E)

  def _expert_weights(self) -> ExpertWeights:
    cfg = self.cfg
    input_shape = (cfg.n_experts, cfg.d_model, cfg.d_ff_expert)
    output_shape = (cfg.n_experts, cfg.d_ff_expert, cfg.d_model)
    names = ('gate', 'up') if cfg.gated else ('up',)
    inputs = tuple(
      ExpertProjection(input_shape, cfg.feed_forward_bias, name=name)()
      for name in names
    )
    down = ExpertProjection(output_shape, cfg.feed_forward_bias, name='down')()
    return ExpertWeights(inputs, down)
