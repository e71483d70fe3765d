"""Helpers of the tests of experts: configs, and routing in NumPy, token by token."""

import numpy as np

N_EXPERTS = 6
EXPERTS = {
  'n_experts': N_EXPERTS,
  'experts_per_token': 2,
  'd_ff_expert': 10,
  'gated': True,
  'activation': 'silu',
}
DEEPSEEK = EXPERTS | {
  'router_score': 'sigmoid',
  'router_correction': True,
  'n_shared_experts': 2,
  'router_groups': 3,
  'router_groups_per_token': 2,
  'router_group_score': 'top2',
}


def route_in_numpy(cfg, logits, correction=0.0):
  """Returns the weights and the experts of each token, computed in float64."""
  logits = np.asarray(logits, np.float64)
  if cfg.router_score == 'sigmoid':
    scores = 1 / (1 + np.exp(-logits))
  else:
    scores = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)

  weights = []
  chosen = []
  n_best = 2 if cfg.router_group_score == 'top2' else 1
  for token_scores in scores:
    choice = token_scores + correction
    by_group = choice.reshape(cfg.router_groups, -1)
    group_scores = np.sort(by_group, axis=1)[:, -n_best:].sum(1)
    best_groups = np.argsort(-group_scores)[: cfg.router_groups_per_token]
    in_best = np.isin(np.arange(cfg.router_groups), best_groups)
    mask = np.repeat(in_best, by_group.shape[1])
    experts = np.argsort(-np.where(mask, choice, -np.inf))[: cfg.experts_per_token]
    weight = token_scores[experts]
    if cfg.router_normalize:
      weight = weight / weight.sum()
    weights.append(weight * cfg.router_scale)
    chosen.append(experts)
  return np.array(weights), np.array(chosen)
