"""Number of parameters by kind, in closed form from the config of a model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
import dataclasses

from lmhp.model import embedding, normalization, output
from lmhp.model.config import LayerSpec, ModelConfig
from lmhp.model.counts import feed_forward_parameter_counts, feed_forward_parameters
from lmhp.model.mixers import attention
from lmhp.model.mixers.registry import mixer_spec
from lmhp.params import KINDS


@dataclasses.dataclass(frozen=True)
class Count:
  """Number of parameters of a model.

  Attributes:
    by_kind: {kind of `lmhp.params.KINDS`: number of parameters}. A parameter that several
      layers share is counted once.
    inactive: Number of parameters in the experts to which a token is not routed.
  """

  by_kind: Mapping[str, int]
  inactive: int = 0

  @property
  def total(self) -> int:
    """Number of all parameters."""
    return sum(self.by_kind.values())

  @property
  def active(self) -> int:
    """Number of parameters that one token uses. All rows of the embedding table count."""
    return self.total - self.inactive

  @property
  def active_excluding_embedding(self) -> int:
    """Number of parameters that one token uses, without those of the input embedding."""
    return self.active - self.by_kind['embedding']

  @property
  def non_embedding(self) -> int:
    """Number of parameters without embedding, positional table and output layer.

    Source: Kaplan et al., arXiv:2001.08361.
    """
    tables = (
      self.by_kind['embedding'] + self.by_kind['positional'] + self.by_kind['output']
    )
    return self.total - tables


def count(cfg: ModelConfig) -> Count:
  """Counts the parameters of a model, without allocating any.

  Args:
    cfg: Config of the model. `vocab_size` is set.

  >>> cfg = ModelConfig(vocab_size=65, d_model=128, max_seq_len=64, position='learned')
  >>> count(cfg).total
  804096
  """
  counts = _count_stack(cfg)
  if cfg.is_encoder_decoder:
    # The encoder, and the cross-attention of each layer of the decoder.
    counts += _count_stack(cfg.encoder)
    n_cross_attentions = 1 if cfg.share_layers else cfg.n_layers
    counts += multiply(attention.parameter_counts(cfg), n_cross_attentions)
  # Embedding and output layer, and the normalizations of the residual stream in all layers.
  for part in (embedding, normalization, output):
    counts += part.parameter_counts(cfg)
  inactive = 0
  if cfg.n_experts:
    # Each layer with experts has experts that a token does not use.
    n_layers = _n_expert_layers(cfg)
    if cfg.is_encoder_decoder:
      n_layers += _n_expert_layers(cfg.encoder)
    n_inactive = n_layers * (cfg.n_experts - cfg.experts_per_token)
    inactive = n_inactive * feed_forward_parameters(cfg, cfg.d_ff_expert)
  return Count({kind: counts[kind] for kind in KINDS}, inactive)


def _count_stack(cfg: ModelConfig) -> Counter[str]:
  """Counts the parameters in the layers of the encoder or the decoder, by kind.

  Normalizations of the residual stream are not included (see
  `lmhp.model.normalization.parameter_counts`).
  """
  counts: Counter[str] = Counter()
  # Count each kind of layer once and multiply, so that a deep model takes no longer.
  for spec, n_layers in Counter(_stored_layers(cfg)).items():
    mixer = mixer_spec(cfg, spec.mixer).parameter_counts(cfg)
    layer = mixer + feed_forward_parameter_counts(cfg, spec.experts)
    counts += multiply(layer, n_layers)
  return counts


def _stored_layers(cfg: ModelConfig) -> Sequence[LayerSpec]:
  """Returns the layers that store parameters. Layers that share parameters store one set."""
  return cfg.layer_specs[:1] if cfg.share_layers else cfg.layer_specs


def _n_expert_layers(cfg: ModelConfig) -> int:
  # `spec.experts` is True if the layer has experts.
  return sum(spec.experts for spec in _stored_layers(cfg))


def multiply(counts: Mapping[str, int], n: int) -> Counter[str]:
  """Returns counts by kind, multiplied by a number.

  >>> multiply({'attention': 3}, 2)
  Counter({'attention': 6})
  """
  return Counter({kind: n * value for kind, value in counts.items()})
