"""The key of the token mixers, and the properties of each layer that follow from the keys."""

from __future__ import annotations

from typing import NamedTuple

from lmhp.declarations import static
from lmhp.model.config.attention import AttentionKeys
from lmhp.model.config.experts import ExpertKeys
from lmhp.sections import keys, require

MIXER_NAMES: list[str] = []
"""Names of the token mixers. `lmhp.model.mixers.registry.register_mixer` adds to it."""


class LayerSpec(NamedTuple):
  """Properties of a layer on which its parameters depend.

  Attributes:
    attention_norm: True if the layer has a normalization before its token mixer. It has an
      effect only if `norm_placement` puts a normalization there.
    experts: True if the layer has experts.
    mixer: Name of the token mixer.
  """

  attention_norm: bool
  experts: bool
  mixer: str


class Segment(NamedTuple):
  """Neighbouring layers with the same `LayerSpec`. Their parameters are stacked.

  Attributes:
    first: Number of the first layer, from 0.
    n_layers: Number of layers.
  """

  first: int
  n_layers: int


@keys
class LayerKeys(AttentionKeys, ExpertKeys):
  """Token mixers of the layers."""

  mixer_pattern: tuple[str, ...] = static(
    ('attention',),
    'token mixers of the layers, a pattern that is repeated',
    choices=MIXER_NAMES,
    aliases=('layers_block_type', 'block_types'),
    value_aliases={
      'conv': "'convolution'",
      'recurrent': "'rglru'",
      'full_attention': "'attention'",
    },
  )

  @property
  def mixers(self) -> tuple[str, ...]:
    """Name of the token mixer of each layer."""
    pattern = self.mixer_pattern
    return tuple(pattern[layer % len(pattern)] for layer in range(self.n_layers))

  @property
  def has_other_mixers(self) -> bool:
    """True if any layer has another token mixer than attention."""
    return any(name != 'attention' for name in self.mixer_pattern)

  @property
  def layer_specs(self) -> tuple[LayerSpec, ...]:
    """Properties of each layer on which its parameters depend."""
    return tuple(
      LayerSpec(self.first_attention_norm or layer > 0, self.has_experts(layer), mixer)
      for layer, mixer in enumerate(self.mixers)
    )

  @property
  def is_uniform(self) -> bool:
    """True if all layers have the same kinds of parameters."""
    return len(set(self.layer_specs)) == 1

  @property
  def segments(self) -> tuple[Segment, ...]:
    """The longest runs of neighbouring layers with the same `LayerSpec`, in order."""
    specs = self.layer_specs
    starts = [
      layer
      for layer in range(self.n_layers)
      if layer == 0 or specs[layer] != specs[layer - 1]
    ]
    ends = [*starts[1:], self.n_layers]
    return tuple(Segment(start, end - start) for start, end in zip(starts, ends))

  def check_layers(self) -> None:
    """Checks the pattern of token mixers.

    Raises:
      ConfigError: If it is empty.
    """
    require(
      self,
      len(self.mixer_pattern) > 0,
      'mixer_pattern',
      f'at least one of {", ".join(MIXER_NAMES)}',
    )
