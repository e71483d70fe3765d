"""The choice of experts for each token, its auxiliary losses, and its load-balancing bias.

Dimension key: T tokens of a batch, E experts, k experts of one token, A = T k assignments of a
token to an expert, J groups of experts, e experts of one group, N layers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp

from lmhp.model.config import ModelConfig
from lmhp.typing import PyTree

Aux: TypeAlias = Mapping[str, Mapping[str, jax.Array]]
"""{'STACK/SEGMENT': output of `routing_metrics`, with a first axis N over layers}.

STACK is a stack of layers in the parameters, such as 'decoder'. SEGMENT is a run of equal
layers in it, such as 'segment_0', and N is the number of its layers.
"""


class Routing(NamedTuple):
  """The experts of each token.

  Attributes:
    scores_TE: (T, E) float32, the score of each expert.
    weights_Tk: (T, k) float32, factors on the outputs of the token's experts.
    experts_Tk: (T, k) int32, numbers of the token's experts.
  """

  scores_TE: jax.Array
  weights_Tk: jax.Array
  experts_Tk: jax.Array


def route(
  cfg: ModelConfig, logits_TE: jax.Array, correction_E: jax.Array | None
) -> Routing:
  """Chooses the experts of each token, and their weights.

  Scores are the softmax or the sigmoid of the logits. If `cfg.router_groups` is above 1,
  only experts of the best groups can be chosen.

  Args:
    cfg: Config of the model.
    logits_TE: (T, E) float32.
    correction_E: (E,) float32, a bias on the scores. It affects which experts are chosen, not
      their weights (arXiv:2408.15664). None if there is none.
  """
  score = jax.nn.softmax if cfg.router_score == 'softmax' else jax.nn.sigmoid
  scores_TE = score(logits_TE)

  # The choice: biased scores, of the best groups only.
  choice_TE = scores_TE
  if correction_E is not None:
    choice_TE = scores_TE + jax.lax.stop_gradient(correction_E)[None]
  if cfg.router_groups > 1:
    choice_TE = _exclude_other_groups(cfg, choice_TE)
  _, experts_Tk = jax.lax.top_k(choice_TE, cfg.experts_per_token)

  # The weights: scores of the chosen experts.
  weights_Tk = jnp.take_along_axis(scores_TE, experts_Tk, axis=1)
  if cfg.router_normalize:
    # 1e-20 avoids a division by zero.
    weights_Tk = weights_Tk / (jnp.sum(weights_Tk, axis=1, keepdims=True) + 1e-20)
  return Routing(scores_TE, weights_Tk * cfg.router_scale, experts_Tk.astype(jnp.int32))


def _exclude_other_groups(cfg: ModelConfig, choice_TE: jax.Array) -> jax.Array:
  """Sets the scores of experts outside the best groups to minus infinity.

  A group is ranked by its best score, or by the sum of its two best scores.
  """
  group_size = cfg.n_experts // cfg.router_groups
  choice_TJe = choice_TE.reshape(-1, cfg.router_groups, group_size)
  n_best = 2 if cfg.router_group_score == 'top2' else 1
  group_scores_TJ = jnp.sum(jax.lax.top_k(choice_TJe, n_best)[0], axis=-1)
  _, groups = jax.lax.top_k(group_scores_TJ, cfg.router_groups_per_token)
  mask_TJ = jnp.any(jax.nn.one_hot(groups, cfg.router_groups, dtype=bool), axis=1)
  mask_TJe = jnp.broadcast_to(mask_TJ[..., None], choice_TJe.shape)
  return jnp.where(mask_TJe, choice_TJe, -jnp.inf).reshape(choice_TE.shape)


# --- auxiliary losses ---------------------------------------------------------------


def routing_metrics(logits_TE: jax.Array, routing: Routing) -> dict[str, jax.Array]:
  """Returns the load of the experts and the auxiliary losses of one layer.

  Args:
    logits_TE: (T, E) float32, output of the router.
    routing: Output of `route`.

  Returns:
    `expert_load`: (E,), the fraction of assignments that each expert has.
    `load_balance`: E sum_e load_e mean_T(score_e), where scores of a token are divided by
      their sum. The value is 1 if loads and scores are uniform.
    `router_z`: The mean square of logsumexp of the logits.

  Source: arXiv:2101.03961 equations 4 to 6; arXiv:2202.08906 equation 5.
  """
  n_experts = logits_TE.shape[1]
  load_E = jnp.mean(jax.nn.one_hot(routing.experts_Tk.reshape(-1), n_experts), axis=0)
  sums_T1 = jnp.sum(routing.scores_TE, axis=1, keepdims=True)
  mean_score_E = jnp.mean(routing.scores_TE / sums_T1, axis=0)
  return {
    'expert_load': load_E,
    'load_balance': n_experts * jnp.sum(load_E * mean_score_E),
    'router_z': jnp.mean(jnp.square(jax.nn.logsumexp(logits_TE, axis=1))),
  }


def routing_loss(aux: Aux, hypers: Mapping[str, jax.Array]) -> jax.Array:
  """Returns the term that routing adds to the mean loss, in nats.

  The term is the sum of both auxiliary losses, each averaged over layers and multiplied by
  its coefficient.

  Args:
    aux: Metrics of all layers with experts.
    hypers: `Hypers['model']`. The keys `load_balance_loss` and `router_z_loss` are read.
      They hold the coefficients of the two losses.
  """
  load_balance = _of_all_layers(aux, 'load_balance')
  router_z = _of_all_layers(aux, 'router_z')
  return hypers['load_balance_loss'] * jnp.mean(load_balance) + hypers[
    'router_z_loss'
  ] * jnp.mean(router_z)


def _of_all_layers(aux: Aux, name: str) -> jax.Array:
  return jnp.concatenate([segment[name] for segment in aux.values()])


# --- the load-balancing bias --------------------------------------------------------


def update_corrections(
  params: PyTree, aux: Aux, hypers: Mapping[str, jax.Array]
) -> PyTree:
  """Returns the parameters after one update of the corrections of the routers.

  The correction of an expert goes up by `router_correction_rate` if its load is below 1 / E,
  and down if it is above.

  Args:
    params: Parameters of the model.
    aux: Metrics of all layers with experts.
    hypers: `Hypers['model']`. The key `router_correction_rate` is read.

  Source: arXiv:2408.15664 algorithm 1; arXiv:2412.19437 section 2.1.2.
  """
  # New dicts, so that those of the caller do not change.
  params = jax.tree.map(lambda x: x, params)
  for path, metrics in aux.items():
    stack, segment = path.split('/')
    experts = params[stack][segment]['experts']
    if 'correction' in experts:
      load_NE = metrics['expert_load']
      direction_NE = jnp.sign(1 / load_NE.shape[-1] - load_NE)
      step_NE = hypers['router_correction_rate'] * direction_NE
      experts['correction'] = experts['correction'] + step_NE
  return params
