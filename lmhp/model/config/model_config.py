"""The section `model`. Its keys are declared here and in the other files of this package.

`LayerSpec` and `Segment` describe its layers.
"""

from __future__ import annotations

from collections.abc import Callable
import copy
from typing import NamedTuple

from lmhp.declarations import static
from lmhp.model.config.attention import AttentionKeys
from lmhp.model.config.experts import ExpertKeys
from lmhp.model.config.feed_forward import BiasKeys, FeedForwardKeys
from lmhp.model.config.normalization import NormalizationKeys
from lmhp.model.config.positions import PositionKeys
from lmhp.model.config.scales import ScaleKeys
from lmhp.model.config.sizes import SizeKeys
from lmhp.sections import assign, keys, require, section

REMAT_POLICIES = ('none', 'full', 'dots', 'dots_with_no_batch_dims')
"""Values of `model.remat`."""

MIXER_NAMES: list[str] = []
"""Names of the token mixers. `lmhp.model.mixers.registry.register_mixer` adds to it."""


class LayerSpec(NamedTuple):
  """Properties of a layer that decide which parameters it has.

  Attributes:
    attention_norm: True if the layer may have a normalization before its token mixer. It then
      has one with `norm_placement` 'pre' or 'sandwich', and none with the other placements.
    experts: True if the layer has experts.
    mixer: Name of the token mixer, such as 'attention'.
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
    'token mixer of each layer, a pattern that is repeated over the layers',
    choices=MIXER_NAMES,
    # Aliases are names in other libraries. They are not accepted: the error message shows the
    # key or the value of lmhp.
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
    """The `LayerSpec` of each layer."""
    return tuple(
      LayerSpec(self.first_attention_norm or layer > 0, self.has_experts(layer), mixer)
      for layer, mixer in enumerate(self.mixers)
    )

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


@keys
class ComputationKeys(SizeKeys):
  """Precision, scan over layers, and rematerialization.

  These keys change speed, memory and rounding, but not the mathematics.
  """

  dtype: str = static(
    'auto',
    'precision of the operands of matrix products; auto is bfloat16 on devices that multiply '
    'it faster than float32, and float32 on others',
    choices=('auto', 'float32', 'bfloat16'),
    aliases=('torch_dtype', 'precision', 'compute_dtype'),
    value_aliases={
      'bf16': "'bfloat16'",
      'bf16-mixed': "'bfloat16'",
      'fp32': "'float32'",
      'f32': "'float32'",
    },
  )
  scan_layers: bool = static(
    True,
    'neighbouring layers with the same parameter shapes are compiled once, as the body of a '
    'loop, so that compile time does not grow with depth; False unrolls the loop',
  )
  remat: str = static(
    'none',
    'activations that the backward pass computes again: none, all (full), or all but the '
    'outputs of matrix products (dots, dots_with_no_batch_dims, as in jax.checkpoint)',
    choices=REMAT_POLICIES,
    aliases=('remat_policy', 'activation_checkpointing'),
    # The error message for the key gradient_checkpointing shows this value of `remat`: 'full'
    # if gradient_checkpointing is True.
    converted_aliases={'gradient_checkpointing': "'full' if True"},
  )


PART_RESOLVERS: list[Callable[[ModelConfig], None]] = []
"""`ModelConfig.resolve` calls these functions. Each one fills in and checks keys that a registry
added to the section, such as the keys of the token mixers."""


# The bases set the order of the keys: a dataclass takes the fields of its last base first.
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
  """The network: sizes, layers, positions, dropout and initial values.

  Traced keys are the dropout rates, `load_balance_loss`, `router_z_loss`,
  `router_correction_rate` and `init_scale`. All others are static.
  """

  @property
  def encoder(self) -> ModelConfig:
    """Config of the encoder of an encoder-decoder.

    It differs from the config of the decoder only in `architecture` and `n_layers`.
    """
    encoder = copy.copy(self)
    assign(encoder, architecture='encoder', n_layers=self.n_encoder_layers)
    return encoder

  def resolve(self) -> None:
    """Fills in derived values, and checks conditions on several keys.

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
    # Layers can share parameters only if all layers of a stack are one segment. An
    # encoder-decoder has two stacks.
    stacks = [self, self.encoder] if self.is_encoder_decoder else [self]
    require(
      self,
      not self.share_layers or all(len(stack.segments) == 1 for stack in stacks),
      'share_layers',
      'False, since layers differ in the names or shapes of their parameters',
    )

    for resolve_part in PART_RESOLVERS:
      resolve_part(self)
