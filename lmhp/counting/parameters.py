"""Parameters by kind, in closed form from a config, and from a live tree: the two agree always."""

from __future__ import annotations

from collections import Counter
import dataclasses
from typing import Any

from lmhp.model import (
  embedding,
  feed_forward,
  normalization,
  output,
  positional,
)
from lmhp.model.attention import counts as attention
from lmhp.model.config import ModelConfig
from lmhp.model.experts import counts as experts
from lmhp.model.mixers.registry import mixer_spec
from lmhp.params import KINDS, list_params


@dataclasses.dataclass(frozen=True)
class Count:
  """How many parameters a model has.

  Attributes:
    by_kind: parameters of each kind of `leaves.KINDS`.
    inactive: parameters that a token does not pass through (experts not chosen).
  """

  by_kind: dict[str, int]
  inactive: int = 0

  @property
  def total(self) -> int:
    """All parameters, shared ones once."""
    return sum(self.by_kind.values())

  @property
  def active(self) -> int:
    """Those that one token passes through, the whole embedding table included."""
    return self.total - self.inactive

  @property
  def active_excluding_embedding(self) -> int:
    """The other convention: without the input embedding."""
    return self.active - self.by_kind['embedding']

  @property
  def non_embedding(self) -> int:
    """Without token embedding, positional table and an untied head's matrix (Kaplan et al., arXiv:2001.08361)."""
    return (
      self.total
      - self.by_kind['embedding']
      - self.by_kind['positional']
      - self.by_kind['output']
    )


def count(cfg: ModelConfig) -> Count:
  """Counts a model before it exists.

  Args:
    cfg: `vocab_size` must be set.

  >>> count(
  ...   ModelConfig(vocab_size=65, d_model=128, max_seq_len=64, position='learned')
  ... ).total
  804096
  """
  counts = _stack(cfg)
  if cfg.is_encoder_decoder:
    counts += _stack(cfg.encoder)
    n = 1 if cfg.share_layers else cfg.n_layers
    counts += Counter(
      {kind: n * count for kind, count in attention.parameter_counts(cfg).items()}
    )
  for part in (embedding, positional, normalization, output):
    counts += part.parameter_counts(cfg)
  stacks = (cfg, cfg.encoder)[: 1 + cfg.is_encoder_decoder]
  inactive = (
    experts.inactive_parameters(cfg) * sum(map(_layers_with_experts, stacks))
    if cfg.n_experts
    else 0
  )
  return Count({kind: counts[kind] for kind in KINDS}, inactive)


def _stack(cfg: ModelConfig) -> Counter:
  """Parameters by kind of all layers of one stack, without the normalizations over d_model."""
  counts = Counter()
  for kind, n in Counter(cfg.layer_specs[: 1 if cfg.share_layers else None]).items():
    layer = mixer_spec(cfg, kind.mixer).parameter_counts(cfg)
    layer += (
      experts.parameter_counts(cfg)
      if kind.experts
      else feed_forward.parameter_counts(cfg)
    )
    counts += Counter({name: n * count for name, count in layer.items()})
  return counts


def _layers_with_experts(cfg: ModelConfig) -> int:
  return sum(
    kind.experts for kind in cfg.layer_specs[: 1 if cfg.share_layers else None]
  )


def count_tree(params: Any) -> Count:
  """Counts a live tree of parameters (arrays or shapes) by the leaf table.

  >>> import numpy as np
  >>> count_tree({'final_norm': {'scale': np.ones(14)}}).by_kind['normalization']
  14
  """
  counts = Counter()
  for leaf in list_params(params):
    counts[leaf.kind] += leaf.size if leaf.role != 'state' else 0
  return Count({kind: counts[kind] for kind in KINDS})
