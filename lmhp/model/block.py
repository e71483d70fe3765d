"""One layer: a token mixer and a feed-forward part around the residual stream."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import flax.linen as nn
import jax

from lmhp.model.attention.multi_head import CrossAttention
from lmhp.model.attention.windowed_caches import (
  CachePlace,
  WindowedCaches,
  read_layer,
  write_layer,
)
from lmhp.model.config import LayerSpec, ModelConfig
from lmhp.model.experts.layer import Experts
from lmhp.model.feed_forward import FeedForward
from lmhp.model.layer_inputs import LayerFlags, LayerInputs
from lmhp.model.mixers.registry import mixer_spec
from lmhp.model.normalization import Normalization
from lmhp.model.rng import dropout, named_key
from lmhp.registry import import_object
from lmhp.typing import PyTree


class MixerLayer(Protocol):
  """The interface of the flax module of a token mixer.

  The class of the module is called as `Layer(cfg, name=name)`.
  """

  def __call__(
    self,
    x_BLD: jax.Array,
    flags: LayerFlags,
    inputs: LayerInputs,
    cache: PyTree = None,
  ) -> tuple[jax.Array, PyTree]:
    """Mixes tokens.

    Args:
      x_BLD: (B, L, D) float32, new tokens.
      flags: Properties of this layer, such as local attention.
      inputs: Inputs that all layers share, such as masks.
      cache: Arrays that `MixerSpec.cache_arrays` describes, such as keys and values, with the
        batch axis first. None while no cache is used.

    Returns:
      (B, L, D) float32, and the cache with the new tokens, or None if `cache` is None.
    """
    ...


def mixer_layer(cfg: ModelConfig, name: str) -> MixerLayer:
  """Returns the flax module of a mixer. Its parameters lie under the name of the mixer.

  Args:
    cfg: Config of the model.
    name: Name of the mixer, such as 'attention'.
  """
  return import_object(mixer_spec(cfg, name).layer)(cfg, name=name)


class VaryingFlags(NamedTuple):
  """Flags of the N layers of one scan, as arrays with a first axis N.

  A flag that has the same value in all these layers is None here. Its value is then an
  attribute of `Block`.

  Attributes:
    number: (N,) int32, number of each layer, from 0.
    local: (N,) bool, True for layers with local attention, or None.
    uses_positions: (N,) bool, True for layers that use positions, or None.
  """

  number: jax.Array
  local: jax.Array | None
  uses_positions: jax.Array | None


class BlockCache(NamedTuple):
  """Arrays that one layer keeps between tokens while it decodes.

  Attributes:
    mixer: Cache of the token mixer. None while no cache is used.
    cross_attention: Keys and values of the M tokens of the encoder, each (B, M, G, K). None
      without an encoder.
  """

  mixer: PyTree = None
  cross_attention: PyTree = None


class Layer(nn.Module):
  """One layer: a token mixer, attention to an encoder if there is one, and feed-forward.

  Each of these parts, f, has a normalization n, or two in a sandwich. `model.norm_placement`
  sets their places:

    pre: x + f(n(x))
    post: n(x + f(x))
    sandwich: x + n2(f(n1(x)))
    output: x + n(f(x))

  In a parallel block (`model.parallel_residual`), the mixer and the feed-forward part read the
  same x, and both results are added to x.

  Attributes:
    cfg: Config of the model. Its traced numbers may be missing (see `lmhp.hypers`).
    local: True if all layers of the scan have local attention, False if all have global
      attention. Read only if `VaryingFlags.local` is None.
    uses_positions: True if all layers of the scan use positions, False if none does. Read
      only if `VaryingFlags.uses_positions` is None.
    spec: Properties that decide which parameters the layer has: its token mixer, its first
      normalization, and whether it has experts.
  """

  cfg: ModelConfig
  local: bool = False
  uses_positions: bool = True
  spec: LayerSpec = LayerSpec(attention_norm=True, experts=False, mixer='attention')

  @nn.compact
  def apply_layer(
    self, x_BLD: jax.Array, flags: LayerFlags, cache: BlockCache, inputs: LayerInputs
  ) -> tuple[jax.Array, BlockCache, dict[str, jax.Array]]:
    """Applies the layer.

    Args:
      x_BLD: (B, L, D) float32, residual stream.
      flags: Flags of this layer.
      cache: Cache of this layer. If no cache is used, its fields are None.
      inputs: Inputs that all layers share, such as masks.

    Returns:
      The residual stream after the layer, (B, L, D) float32, the cache with the new tokens, and
      the routing statistics of the experts, which are empty without experts.
    """
    cfg = self.cfg

    # Token mixer. The names of its normalizations start with 'attention' for any mixer.
    h_BLD = x_BLD
    if self.spec.attention_norm:
      h_BLD = self._norm('attention_input_norm', x_BLD, 'pre', 'sandwich')
    mixer = mixer_layer(cfg, self.spec.mixer)
    mixed_BLD, mixer_cache = mixer(h_BLD, flags, inputs, cache.mixer)
    # In a parallel block, both parts read the residual stream before either is added to it.
    # With a shared normalization, the feed-forward part reads `h_BLD` as the mixer does.
    if cfg.parallel_residual and not cfg.shared_norm:
      h_BLD = self._norm('feed_forward_input_norm', x_BLD, 'pre', 'sandwich')
    x_BLD = x_BLD + self._branch_output('attention', mixed_BLD, flags, inputs)
    x_BLD = self._norm('attention_residual_norm', x_BLD, 'post')

    # Attention to the encoder.
    cross_cache = None
    if cfg.is_encoder_decoder:
      h_BLD = self._norm('cross_attention_input_norm', x_BLD, 'pre', 'sandwich')
      mixed_BLD, cross_cache = CrossAttention(cfg, name='cross_attention')(
        h_BLD, flags, inputs, cache.cross_attention
      )
      x_BLD = x_BLD + self._branch_output('cross_attention', mixed_BLD, flags, inputs)
      x_BLD = self._norm('cross_attention_residual_norm', x_BLD, 'post')

    # Feed-forward part, or experts.
    if not cfg.parallel_residual:
      h_BLD = self._norm('feed_forward_input_norm', x_BLD, 'pre', 'sandwich')
    hidden_BLD, aux = self._feed_forward(h_BLD)
    x_BLD = x_BLD + self._branch_output('feed_forward', hidden_BLD, flags, inputs)
    x_BLD = self._norm('feed_forward_residual_norm', x_BLD, 'post')
    return x_BLD, BlockCache(mixer_cache, cross_cache), aux

  def flags(self, varying: VaryingFlags) -> LayerFlags:
    """Returns the flags of this layer.

    Args:
      varying: Flags of this layer that differ between the layers of its scan, without the axis N.
    """
    local = self.local if varying.local is None else varying.local
    uses_positions = self.uses_positions
    if varying.uses_positions is not None:
      uses_positions = varying.uses_positions
    return LayerFlags(varying.number, local, uses_positions)

  def _feed_forward(self, h_BLD: jax.Array) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Returns the output of the feed-forward part or experts, and routing statistics."""
    if self.spec.experts:
      return Experts(self.cfg, name='experts')(h_BLD)
    return FeedForward(self.cfg, name='feed_forward')(h_BLD), {}

  def _norm(self, name: str, x_BLD: jax.Array, *placements: str) -> jax.Array:
    """Normalizes x if the model's placement is one of `placements`."""
    if self.cfg.norm_placement not in placements:
      return x_BLD
    return Normalization(self.cfg, self.cfg.d_model, name=name)(x_BLD)

  def _branch_output(
    self, part: str, x_BLD: jax.Array, flags: LayerFlags, inputs: LayerInputs
  ) -> jax.Array:
    """Applies the output normalization, dropout and scale of a part, if the config has them."""
    cfg = self.cfg
    x_BLD = self._norm(f'{part}_output_norm', x_BLD, 'sandwich', 'output')
    if cfg.residual_dropout != 0 and inputs.key is not None:
      # Each part of each layer draws its own mask. The key is made of the name of the part and
      # the number of the layer.
      part_key = named_key(inputs.key, f'residual_dropout/{part}')
      key = jax.random.fold_in(part_key, flags.number)
      x_BLD = dropout(x_BLD, inputs.hypers['residual_dropout'], key)
    if cfg.residual_scale != 1.0:
      x_BLD = x_BLD * cfg.residual_scale
    return x_BLD


class Block(Layer):
  """A layer as the body of a scan. Each layer of the scan has a cache of its own."""

  def __call__(
    self,
    x_BLD: jax.Array,
    flags_and_cache: tuple[VaryingFlags, BlockCache],
    inputs: LayerInputs,
  ) -> tuple[jax.Array, tuple[BlockCache, dict[str, jax.Array]]]:
    """Applies the layer.

    Args:
      x_BLD: (B, L, D) float32, residual stream.
      flags_and_cache: Flags of this layer, without the axis N, and its cache.
      inputs: Inputs that all layers share, such as masks.

    Returns:
      The residual stream after the layer, and a pair: the cache with the new tokens, and the
      routing statistics of the experts.
    """
    varying, cache = flags_and_cache
    x_BLD, cache, aux = self.apply_layer(x_BLD, self.flags(varying), cache, inputs)
    return x_BLD, (cache, aux)


class WindowedBlock(Layer):
  """A layer as the body of a scan, whose caches are `WindowedCaches`."""

  def __call__(
    self,
    x_and_caches: tuple[jax.Array, WindowedCaches],
    flags_and_place: tuple[VaryingFlags, CachePlace],
    inputs: LayerInputs,
  ) -> tuple[tuple[jax.Array, WindowedCaches], dict[str, jax.Array]]:
    """Applies the layer.

    Args:
      x_and_caches: Residual stream, (B, L, D) float32, and the caches of the segment.
      flags_and_place: Flags of this layer, without the axis N, and the place of its cache.
      inputs: Inputs that all layers share, such as masks.

    Returns:
      The residual stream after the layer, with the caches that have the new tokens, and the
      routing statistics of the experts.
    """
    x_BLD, caches = x_and_caches
    varying, place = flags_and_place
    flags = self.flags(varying)

    # Give the layer a cache with space for all tokens, and keep the new ones.
    n_tokens = inputs.masks.global_BLM.shape[-1]
    cache = BlockCache(read_layer(caches, place, flags.local, n_tokens))
    x_BLD, cache, aux = self.apply_layer(x_BLD, flags, cache, inputs)
    n_new = x_BLD.shape[1]
    caches = write_layer(caches, place, flags.local, cache.mixer, inputs.start, n_new)
    return (x_BLD, caches), aux
