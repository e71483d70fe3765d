"""Keys of a mixture of experts."""

from __future__ import annotations

from lmhp.declarations import static
from lmhp.model.config.sizes import SizeKeys
from lmhp.sections import assign, keys, require_all


@keys
class ExpertKeys(SizeKeys):
  """Experts and their router."""

  n_experts: int = static(
    0,
    'number of experts of a layer: feed-forward parts between which a router chooses; 0 is '
    'a model without experts',
    low=0,
    aliases=('num_experts', 'num_local_experts', 'n_routed_experts'),
    source='arXiv:1701.06538',
  )
  experts_per_token: int = static(
    2,
    'number of experts that process a token',
    low=1,
    aliases=('num_experts_per_tok', 'moe_topk', 'moe_top_k'),
  )
  d_ff_expert: int = static(
    None,
    'hidden size of an expert; None is d_ff',
    low=1,
    aliases=('moe_intermediate_size',),
    derived=True,
  )
  # `converted_aliases` are {name in another library: conversion}. The conversion is only shown in
  # the error message for that name.
  n_shared_experts: int = static(
    0,
    'number of further experts, each of which processes all tokens',
    low=0,
    aliases=('num_shared_experts',),
    converted_aliases={
      'shared_expert_intermediate_size': (
        'shared_expert_intermediate_size / model.d_ff_expert'
      ),
    },
    source='arXiv:2401.06066',
  )

  # Layers without experts.
  n_dense_layers: int = static(
    0,
    'number of layers at the start that have a feed-forward part instead of experts',
    low=0,
    aliases=('first_k_dense_replace',),
  )
  dense_layers: tuple[int, ...] = static(
    (),
    'numbers, from 0, of further layers that have a feed-forward part instead of experts',
    aliases=('mlp_only_layers',),
  )
  experts_every: int = static(
    1,
    'period of layers with experts: 2 means the second, the fourth and so on',
    low=1,
    aliases=('interleave_moe_layer_step', 'decoder_sparse_step', 'moe_layer_freq'),
  )

  # Router.
  router_score: str = static(
    'softmax',
    'function from the logits of the router to the scores of the experts',
    choices=('softmax', 'sigmoid'),
    aliases=('scoring_func',),
  )
  router_normalize: bool = static(
    True,
    'the weights of the chosen experts are divided by their sum',
    aliases=('norm_topk_prob',),
  )
  router_scale: float = static(
    1.0,
    'factor on the weights of the chosen experts',
    low=0.0,
    open_low=True,
    aliases=('routed_scaling_factor',),
  )
  router_bias: bool = static(False, 'the linear map of the router has a bias')
  router_groups: int = static(
    1,
    'number of groups of experts; a token uses experts of its best groups only',
    low=1,
    aliases=('n_group',),
  )
  router_groups_per_token: int = static(
    1,
    'number of groups whose experts a token may use',
    low=1,
    aliases=('topk_group',),
  )
  router_group_score: str = static(
    'max',
    'score of a group: that of its best expert (max), or the sum of its two best (top2)',
    choices=('max', 'top2'),
  )
  router_correction: bool = static(
    False,
    'training balances the load of the experts by a number that is added to the score of each '
    'expert, instead of a loss; it affects which experts are chosen, not their weights',
    aliases=('use_routing_bias', 'moe_router_enable_expert_bias'),
    converted_aliases={'topk_method': "True if 'noaux_tc'"},
    source='arXiv:2408.15664',
  )

  # Computation of the experts.
  expert_input_scaled: bool = static(
    False,
    "the router's weights of the chosen experts multiply the inputs of the experts, not their "
    'outputs (Llama 4)',
  )
  expert_backend: str = static(
    'auto',
    'implementation of the experts: blocks is a loop over blocks of rows of one expert, ragged '
    'is jax.lax.ragged_dot, dense applies all experts to all tokens; auto is blocks on CPU, '
    'and ragged on other devices',
    choices=('auto', 'blocks', 'ragged', 'dense'),
  )

  def has_experts(self, layer: int) -> bool:
    """Returns True if a layer has experts.

    Args:
      layer: Number of the layer, from 0.
    """
    return (
      self.n_experts > 0
      and layer >= self.n_dense_layers
      and (layer + 1) % self.experts_every == 0
      and layer not in self.dense_layers
    )

  def derive_experts(self) -> None:
    """Fills in the size of an expert."""
    if self.n_experts:
      assign(self, d_ff_expert=self.d_ff_expert or self.d_ff)

  def check_experts(self) -> None:
    """Checks the keys of experts, if the model has any.

    Raises:
      ConfigError: If they do not fit together.
    """
    if not self.n_experts:
      return
    group_size = self.n_experts // self.router_groups
    # Number of experts in the groups that a token may use.
    n_candidates = self.router_groups_per_token * group_size
    require_all(
      self,
      (
        self.experts_per_token <= self.n_experts,
        'experts_per_token',
        f'at most model.n_experts={self.n_experts}',
      ),
      (
        self.n_experts % self.router_groups == 0,
        'router_groups',
        f'a divisor of model.n_experts={self.n_experts}',
      ),
      (
        self.router_groups_per_token <= self.router_groups,
        'router_groups_per_token',
        f'at most model.router_groups={self.router_groups}',
      ),
      (
        self.router_group_score == 'max' or group_size >= 2,
        'router_group_score',
        'max, since a group has one expert',
      ),
      (
        self.experts_per_token <= n_candidates,
        'experts_per_token',
        f'at most {n_candidates}, the experts of model.router_groups_per_token groups',
      ),
      (
        any(self.has_experts(layer) for layer in range(self.n_layers)),
        'n_experts',
        '0, since no layer has experts (see model.n_dense_layers, model.dense_layers and '
        'model.experts_every)',
      ),
    )
