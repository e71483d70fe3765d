"""The section `model`, assembled from the keys of its parts."""

from __future__ import annotations

from collections.abc import Callable
import copy

from lmhp.model.config.attention import AttentionKeys
from lmhp.model.config.biases import BiasKeys
from lmhp.model.config.computation import ComputationKeys
from lmhp.model.config.experts import ExpertKeys
from lmhp.model.config.feed_forward import FeedForwardKeys
from lmhp.model.config.layers import LayerKeys
from lmhp.model.config.normalization import NormalizationKeys
from lmhp.model.config.positions import PositionKeys
from lmhp.model.config.scales import ScaleKeys
from lmhp.model.config.sizes import SizeKeys
from lmhp.sections import assign, require, section

PART_RESOLVERS: list[Callable[[ModelConfig], None]] = []
"""Functions that fill in and check the keys of registered parts, such as mixers."""


# A dataclass collects the keys of its bases from the last base to the first.
@section('model')
class ModelConfig(
  ComputationKeys,
  ScaleKeys,
  LayerKeys,
  AttentionKeys,
  PositionKeys,
  BiasKeys,
  NormalizationKeys,
  ExpertKeys,
  FeedForwardKeys,
  SizeKeys,
):
  """The network. All keys are static except dropout, losses of the router and init_scale."""

  @property
  def encoder(self) -> ModelConfig:
    """Config of the encoder of an encoder-decoder. It has the sizes of the decoder."""
    encoder = copy.copy(self)
    assign(encoder, architecture='encoder', n_layers=self.n_encoder_layers)
    return encoder

  def resolve(self) -> None:
    """Fills in derived values, and checks what involves several keys.

    Raises:
      ConfigError: If the keys do not fit together.
    """
    self.derive_sizes()
    self.derive_normalization()
    self.derive_biases()
    self.derive_positions()
    self.derive_attention()
    self.derive_experts()
    self.derive_scales()

    self.check_sizes()
    self.check_attention()
    self.check_experts()
    self.check_layers()
    self.check_normalization()
    self.check_positions(self.rotary_dim)
    self._check_shared_layers()

    for resolve_part in PART_RESOLVERS:
      resolve_part(self)

  def _check_shared_layers(self) -> None:
    if not self.share_layers:
      return
    stacks = [self, self.encoder] if self.is_encoder_decoder else [self]
    require(
      self,
      all(stack.is_uniform for stack in stacks),
      'share_layers',
      'False, since layers differ in their parameters',
    )
