"""One block: where its normalizations stand and what its parts add to the residual stream."""

from __future__ import annotations

import flax.linen as nn
import jax

from lmhp.model.attention.multi_head import CrossAttention, LayerFlags, LayerInputs
from lmhp.model.config import LayerSpec, ModelConfig
from lmhp.model.experts.layer import Experts
from lmhp.model.feed_forward import FeedForward
from lmhp.model.mixers.construction import mixer_layer
from lmhp.model.normalization import Normalization
from lmhp.model.rng import dropout, named_key


class Block(nn.Module):
  """A token mixer, attention to an encoder where there is one, and feed-forward around the residual stream.

  Placements, with f the part and n a normalization (each part has its own): pre x + f(n x); post n(x + f x);
  sandwich x + n f(n x); output x + n f x. In parallel, both parts read the same x and their sum is added.

  Attributes:
    cfg: the model's structure.
    local: whether this layer is windowed, where all layers agree.
    uses_positions: whether this layer knows positions, where all layers agree.
    kind: what its parameters hang on.
  """

  cfg: ModelConfig
  local: bool = False
  uses_positions: bool = True
  kind: LayerSpec = LayerSpec(True, False, 'attention')

  @nn.compact
  def __call__(
    self,
    x_BLD: jax.Array,
    layer_cache: tuple[LayerFlags, tuple | None],
    scene: LayerInputs,
  ):
    """The block's result (B, L, D) float32; the cache with the new tokens in it, and what its experts say of it."""
    layer, cache = layer_cache
    layer = LayerFlags(
      layer.index,
      self.local if layer.local is None else layer.local,
      self.uses_positions if layer.uses_positions is None else layer.uses_positions,
    )
    mix = mixer_layer(self.cfg, self.kind.mixer)
    if self.cfg.parallel_residual:
      h_BLD = self._input_norm(x_BLD)
      mixed, cache = mix(h_BLD, layer, scene, cache)
      if not self.cfg.shared_norm:
        h_BLD = self._norm('feed_forward_input_norm', x_BLD, 'pre', 'sandwich')
      x_BLD = x_BLD + self._out('attention', mixed, layer, scene)
      fed, aux = self._feed_forward(h_BLD)
      return x_BLD + self._out('feed_forward', fed, layer, scene), (cache, aux)
    if self.cfg.is_encoder_decoder and cache is not None:
      cache, of_encoder = cache[:2], cache[2:]
    mixed, cache = mix(self._input_norm(x_BLD), layer, scene, cache)
    x_BLD = x_BLD + self._out('attention', mixed, layer, scene)
    x_BLD = self._norm('attention_residual_norm', x_BLD, 'post')
    if self.cfg.is_encoder_decoder:
      x_BLD, of_encoder = self._cross(
        x_BLD, layer, scene, None if cache is None else of_encoder
      )
      cache = None if cache is None else (*cache, *of_encoder)
    fed, aux = self._feed_forward(
      self._norm('feed_forward_input_norm', x_BLD, 'pre', 'sandwich')
    )
    x_BLD = x_BLD + self._out('feed_forward', fed, layer, scene)
    return self._norm('feed_forward_residual_norm', x_BLD, 'post'), (cache, aux)

  def _feed_forward(self, h_BLD: jax.Array) -> tuple[jax.Array, dict]:
    """What the feed-forward part gives, or the experts, and what these say of their routing."""
    if self.kind.experts:
      return Experts(self.cfg, name='experts')(h_BLD)
    return FeedForward(self.cfg, name='feed_forward')(h_BLD), {}

  def _cross(
    self, x_BLD: jax.Array, layer: LayerFlags, scene: LayerInputs, cache: tuple | None
  ):
    """The residual stream after the decoder attended to the encoder, and the cache of that."""
    h_BLD = self._norm('cross_attention_input_norm', x_BLD, 'pre', 'sandwich')
    mixed, cache = CrossAttention(self.cfg, name='cross_attention')(
      h_BLD, layer, scene, cache
    )
    x_BLD = x_BLD + self._out('cross_attention', mixed, layer, scene)
    return self._norm('cross_attention_residual_norm', x_BLD, 'post'), cache

  def _input_norm(self, x_BLD: jax.Array) -> jax.Array:
    """What attention reads."""
    return (
      self._norm('attention_input_norm', x_BLD, 'pre', 'sandwich')
      if self.kind.attention_norm
      else x_BLD
    )

  def _norm(self, name: str, x_BLD: jax.Array, *placements: str) -> jax.Array:
    """A normalization, under the placements that have one here."""
    if self.cfg.norm_placement not in placements:
      return x_BLD
    return Normalization(self.cfg, self.cfg.d_model, name=name)(x_BLD)

  def _out(
    self, part: str, x_BLD: jax.Array, layer: LayerFlags, scene: LayerInputs
  ) -> jax.Array:
    """What a part adds: normalized where the placement says so, dropped out, scaled."""
    cfg = self.cfg
    x_BLD = self._norm(f'{part}_output_norm', x_BLD, 'sandwich', 'output')
    if cfg.residual_dropout != 0 and scene.key is not None:
      key = jax.random.fold_in(
        named_key(scene.key, f'residual_dropout/{part}'), layer.index
      )
      x_BLD = dropout(x_BLD, scene.hypers['residual_dropout'], key)
    return x_BLD * cfg.residual_scale if cfg.residual_scale != 1.0 else x_BLD
