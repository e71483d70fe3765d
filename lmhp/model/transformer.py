"""The network as pure functions of a nested dict of parameters. `build` returns them."""

from __future__ import annotations

from collections.abc import Sequence
import dataclasses
import functools

import jax
import jax.numpy as jnp

from lmhp.errors import ConfigError
from lmhp.hypers import split
from lmhp.model.attention.windowed_caches import WindowedCaches
from lmhp.model.batch import Array, Batch
from lmhp.model.block import BlockCache
from lmhp.model.config import ModelConfig
from lmhp.model.experts.routing import routing_loss, update_corrections
from lmhp.model.layer_inputs import ModelHypers
from lmhp.model.mixers.registry import (
  CacheArray,
  custom_init,
  mixer_spec,
  uses_fan_in_init,
)
from lmhp.model.network import Cache, Features, Network
from lmhp.model.rng import named_key
from lmhp.model.stack import RoutingStatistics, SegmentCaches
from lmhp.params import Param, map_params
from lmhp.typing import PyTree

INIT_STD = 0.02
"""Initial standard deviation of weights and tables. `model.init_scale` multiplies it."""


@dataclasses.dataclass(frozen=True, eq=False)
class Model:
  """A network as pure functions of a nested dict of parameters.

  Attributes:
    cfg: Config of the model. Traced numbers may be replaced by a placeholder
      (`lmhp.hypers.TRACED`), because they come as `hypers`.
    shapes: Nested dict of `jax.ShapeDtypeStruct`: the shapes of the parameters.
  """

  cfg: ModelConfig
  shapes: PyTree
  _module: Network = dataclasses.field(repr=False)

  def init(self, key: jax.Array, hypers: ModelHypers) -> PyTree:
    """Returns the parameters at step 0, a nested dict of float32 arrays.

    Args:
      key: Root PRNG key.
      hypers: Traced numbers of the section `model`. Only `init_scale` is read.
    """
    return map_params(
      lambda param, _shape: init_param(param, self.cfg, key, hypers), self.shapes
    )

  def features(
    self,
    params: PyTree,
    hypers: ModelHypers,
    batch: Batch,
    key: jax.Array | None = None,
    cache: Cache | None = None,
  ) -> Features:
    """Returns the features of a batch, before the head.

    Args:
      params: Parameters.
      hypers: Traced numbers of the section `model`.
      batch: Batch. With a cache, its tokens follow those in the cache.
      key: PRNG key of the step. If None, there is no dropout.
      cache: Cache, or None.
    """
    return self._apply(params, 'features', batch, hypers, key, cache)

  def logits(self, params: PyTree, hypers: ModelHypers, x_BLD: jax.Array) -> jax.Array:
    """Returns logits (..., V) float32 for features (..., D) float32.

    `hypers` is not read, because the head has no traced numbers.
    """
    return self._apply(params, 'logits', x_BLD)

  def auxiliary_loss(self, aux: RoutingStatistics, hypers: ModelHypers) -> jax.Array:
    """Returns what the routing of experts adds to the loss, in nats per token.

    It is the sum of the load-balancing loss and the router z-loss, with their coefficients.

    Args:
      aux: Routing statistics that `features` returned. At least one segment has experts.
      hypers: Traced numbers of the section `model`.
    """
    return routing_loss(aux, hypers)

  def update_state(
    self, params: PyTree, aux: RoutingStatistics, hypers: ModelHypers
  ) -> PyTree:
    """Returns the parameters, with new values for those with the role `state`.

    In lmhp, these are the corrections of routers, which balance the load of the experts. They have
    no gradient.

    Args:
      params: Parameters after an update.
      aux: Routing statistics that `features` returned.
      hypers: Traced numbers of the section `model`.
    """
    return update_corrections(params, aux, hypers)

  def _apply(self, params: PyTree, method: str, *args: PyTree) -> PyTree:
    """Returns the result of a method of the module."""
    params = map_params(_read_in_float32, params)
    return self._module.apply({'params': params}, *args, method=method)

  def init_cache(self, batch_size: int, length: int, encoder_length: int = 0) -> Cache:
    """Returns an empty cache.

    A layer with a window has space for the tokens of its window alone. The decoder of an
    encoder-decoder has space for all tokens.

    Args:
      batch_size: Number of sequences, B.
      length: Largest number of tokens of one sequence.
      encoder_length: Number of tokens of the encoder. 0 without an encoder.
    """
    cfg = self.cfg

    def empty(
      specs: Sequence[CacheArray], n_layers: int, length: int
    ) -> tuple[jax.Array, ...]:
      shapes = [spec.full_shape(length, encoder_length) for spec in specs]
      return tuple(
        jnp.zeros((n_layers, batch_size, *shape), spec.dtype)
        for spec, shape in zip(specs, shapes, strict=True)
      )

    segments: SegmentCaches = {}
    for i, (first, n_layers) in enumerate(cfg.segments):
      name = f'segment_{i}'
      specs = mixer_spec(cfg, cfg.mixers[first]).cache_arrays(cfg)
      in_encoder = [spec for spec in specs if spec.tokens == 'encoder']
      in_mixer = [spec for spec in specs if spec.tokens != 'encoder']

      windows = [w for w in cfg.windows[first : first + n_layers] if w and w < length]
      if windows and cfg.mixers[first] == 'attention' and not cfg.is_encoder_decoder:
        n_global = n_layers - len(windows)
        segments[name] = WindowedCaches(
          global_arrays=empty(in_mixer, n_global, length) if n_global else (),
          local_arrays=empty(in_mixer, len(windows), windows[0]),
        )
      else:
        segments[name] = BlockCache(
          mixer=empty(in_mixer, n_layers, length),
          cross_attention=empty(in_encoder, n_layers, length) or None,
        )
    encoder_mask_BM = None
    if cfg.is_encoder_decoder:
      encoder_mask_BM = jnp.zeros((batch_size, encoder_length), bool)
    return Cache(segments, jnp.int32(0), encoder_mask_BM, length)

  def apply(
    self,
    params: PyTree,
    tokens_BL: Array,
    hypers: ModelHypers | None = None,
    *,
    encoder_tokens_BM: Array | None = None,
  ) -> jax.Array:
    """Returns logits (B, L, V) float32, without dropout.

    Args:
      params: Parameters.
      tokens_BL: (B, L) int32.
      hypers: Traced numbers of the section `model`. None stands for an empty dict, which is
        enough for every mixer of lmhp.
      encoder_tokens_BM: (B, M) int32, tokens that an encoder-decoder's encoder reads.

    Raises:
      ConfigError: If an encoder-decoder gets no encoder tokens, or another model gets some.
    """
    if self.cfg.is_encoder_decoder != (encoder_tokens_BM is not None):
      given = 'none' if encoder_tokens_BM is None else 'some'
      expected = 'tokens that the encoder reads' if given == 'none' else 'none'
      raise ConfigError(
        f'encoder_tokens_BM: got {given} for a model with '
        f'model.architecture={self.cfg.architecture}, expected {expected}'
      )
    batch = Batch(tokens_BL, encoder_tokens=encoder_tokens_BM)
    return self._apply(params, '__call__', batch, hypers or {})


def _read_in_float32(param: Param, array: Array) -> Array:
  """Returns a parameter in the precision in which the network reads it.

  A checkpoint may store bfloat16 or float16. Scales, biases and states take part in arithmetic,
  such as 1 + scale, so they are converted to float32 first. Matrices and tables keep their
  precision: products convert their operands, and rows are converted after they are looked up.
  """
  return array if param.role in ('weight', 'table') else array.astype(jnp.float32)


@functools.cache
def build(cfg: ModelConfig) -> Model:
  """Returns the network that a config describes.

  Args:
    cfg: Config of the model, with or without its traced numbers (see `lmhp.hypers.split`).
      `vocab_size` has to be set, and `dtype` has to be 'float32' or 'bfloat16', not 'auto'.
  """
  module = Network(cfg)
  # A mixer may read any traced number of the section. The defaults are enough here, because
  # shapes do not depend on the numbers.
  _, hypers = split(ModelConfig())

  def init(tokens_BL: jax.Array) -> PyTree:
    encoder_tokens_BM = tokens_BL if cfg.is_encoder_decoder else None
    batch = Batch(tokens_BL, encoder_tokens=encoder_tokens_BM)
    return module.init(jax.random.key(0), batch, hypers)

  # Shapes do not depend on the batch, so a short one is traced.
  tokens_BL = jax.ShapeDtypeStruct((1, min(cfg.max_seq_len, 8)), jnp.int32)
  shapes = jax.eval_shape(init, tokens_BL)['params']
  return Model(cfg, shapes, module)


def init_param(
  param: Param, cfg: ModelConfig, key: jax.Array, hypers: ModelHypers
) -> jax.Array:
  """Returns one parameter at step 0, float32.

  Weights and tables are drawn from a normal distribution. Scales of normalizations start as the
  identity, and biases and states as zero. A token mixer may set its parameters in another way
  (`MixerSpec.custom_inits`).

  Args:
    param: Parameter. Its path is part of the name of its random draw.
    cfg: Config of the model. Its static keys `init`, `norm_unit_offset` and `n_layers` are
      read.
    key: Root PRNG key.
    hypers: Traced numbers of the section `model`. `init_scale` multiplies the standard
      deviation.

  Source: GPT-2 for 0.02, and for the division of residual outputs by sqrt(2 n_layers).
  """
  # The identity is a scale of 1. It is stored as 0 if the normalization adds a unit offset.
  if param.role == 'scale' and param.kind == 'normalization':
    return jnp.full(param.shape, 1.0 - cfg.norm_unit_offset, jnp.float32)
  # Values that a token mixer sets, such as the decay of rglru.
  param_key = named_key(key, f'init/{param.path}')
  custom = custom_init(param.path, param_key, param.shape)
  if custom is not None:
    return custom
  if param.role in ('bias', 'state'):
    return jnp.zeros(param.shape, jnp.float32)

  # std = fan_in ** -0.5, or 0.02. The head always has 0.02, so that the logits start small.
  is_hidden_weight = param.role == 'weight' and param.kind != 'output'
  by_fan_in = cfg.init == 'fan_in' and is_hidden_weight
  by_fan_in = by_fan_in or uses_fan_in_init(param.path)
  std = param.fan_in**-0.5 if by_fan_in else INIT_STD
  if param.spec.residual:
    std = std * cfg.residual_init_factor
  # `init_scale` multiplies the draw, so all values of `init_scale` use the same draw.
  draw = jax.random.normal(param_key, param.shape, jnp.float32)
  return draw * (std * hypers['init_scale'])
