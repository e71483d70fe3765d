"""The whole network. `build` returns it as four pure functions of a dict of parameters."""

from __future__ import annotations

import dataclasses
import functools
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from lmhp.model.attention.masks import TokenPositions
from lmhp.model.batch import Array, Batch
from lmhp.model.block import BlockCache
from lmhp.model.config import ModelConfig
from lmhp.model.embedding import Embedding, TokenTypes
from lmhp.model.layer_inputs import EncoderOutput, ModelHypers, StackInputs
from lmhp.model.experts.routing import routing_loss, update_corrections
from lmhp.model.mixers.construction import custom_init, init_mixer_cache
from lmhp.model.mixers.registry import uses_fan_in_init
from lmhp.model.normalization import Normalization
from lmhp.model.output import Output
from lmhp.model.positional import Positional
from lmhp.model.rng import dropout, named_key
from lmhp.model.stack import RoutingStatistics, SegmentCaches, Stack
from lmhp.params import Param, map_params
from lmhp.typing import PyTree

INIT_STD = 0.02
"""Initial standard deviation of weights and tables, before `model.init_scale`."""


class Cache(NamedTuple):
  """Arrays that the model keeps between tokens while it decodes.

  Attributes:
    segments: Caches of the layers, by segment.
    length: Number of tokens in the cache, int32.
    encoder_mask_BM: (B, M) bool, False for padding of the encoder's tokens. None without an
      encoder.
  """

  segments: SegmentCaches
  length: jax.Array
  encoder_mask_BM: jax.Array | None = None


class Features(NamedTuple):
  """Output of the network before the head.

  Attributes:
    x_BLD: (B, L, D) float32, features.
    aux: Routing statistics of the segments that have experts.
    cache: Cache with the new tokens. None if there was no cache.
  """

  x_BLD: jax.Array
  aux: RoutingStatistics
  cache: Cache | None


class Transformer(nn.Module):
  """Embedding, stacks of layers, final normalizations, and the head.

  A decoder or an encoder has one stack, an encoder-decoder has two.
  """

  cfg: ModelConfig

  def setup(self) -> None:
    cfg = self.cfg
    self.embedding = Embedding(cfg)
    if cfg.position in ('learned', 'sinusoidal'):
      self.positional = Positional(cfg)
    if cfg.token_types:
      self.token_types = TokenTypes(cfg)
    if cfg.embedding_norm:
      self.embedding_norm = Normalization(cfg, cfg.table_width)
    if cfg.architecture != 'decoder':
      self.encoder = Stack(cfg.encoder if cfg.is_encoder_decoder else cfg)
    if cfg.architecture != 'encoder':
      self.decoder = Stack(cfg)
    if cfg.final_norm:
      self.final_norm = Normalization(cfg, cfg.d_model)
      if cfg.is_encoder_decoder:
        self.encoder_final_norm = Normalization(cfg, cfg.d_model)
    self.output = Output(cfg)

  def features(
    self,
    batch: Batch,
    hypers: ModelHypers,
    key: jax.Array | None = None,
    cache: Cache | None = None,
  ) -> Features:
    """Returns the features of a batch, before the head.

    Args:
      batch: Batch. With a cache, its tokens follow those in the cache.
      hypers: Traced numbers of the section `model`.
      key: PRNG key of the step. If None, nothing is random.
      cache: Cache, or None.
    """
    cfg = self.cfg
    encoder = None
    encoder_aux: RoutingStatistics = {}
    if cfg.is_encoder_decoder:
      encoder, encoder_aux = self._encoder_output(batch, hypers, key, cache)

    start = 0 if cache is None else cache.length
    length = batch.tokens.shape[1]
    n_keys = length if cache is None else _cache_length(cfg, cache, length)
    positions = _token_positions(batch, start, n_keys)
    x_BLD = self._embed(batch, positions.in_document_BL, hypers, key)

    stack = self.encoder if cfg.architecture == 'encoder' else self.decoder
    inputs = StackInputs(batch, positions, hypers, key, encoder)
    output = stack(x_BLD, inputs, None if cache is None else cache.segments)
    x_BLD = self.final_norm(output.x_BLD) if cfg.final_norm else output.x_BLD

    new_cache = None
    if cache is not None and output.caches is not None:
      encoder_mask_BM = None if encoder is None else encoder.mask_BM
      new_cache = Cache(output.caches, cache.length + length, encoder_mask_BM)
    return Features(x_BLD, encoder_aux | output.aux, new_cache)

  def _encoder_output(
    self,
    batch: Batch,
    hypers: ModelHypers,
    key: jax.Array | None,
    cache: Cache | None,
  ) -> tuple[EncoderOutput, RoutingStatistics]:
    """Returns the output of the encoder, or its mask if the cache holds its keys.

    Raises:
      ValueError: If there are neither tokens of the encoder nor a cache.
    """
    if batch.encoder_tokens is not None:
      return self._encode(batch.encoder_tokens, batch.encoder_weights, hypers, key)
    if cache is None or cache.encoder_mask_BM is None:
      raise ValueError(
        'batch.encoder_tokens: got None without a cache, expected tokens'
      )
    return EncoderOutput(None, cache.encoder_mask_BM), {}

  def _encode(
    self,
    tokens_BM: Array,
    weights_BM: Array | None,
    hypers: ModelHypers,
    key: jax.Array | None,
  ) -> tuple[EncoderOutput, RoutingStatistics]:
    """Returns the output of an encoder-decoder's encoder, and its routing statistics."""
    cfg = self.cfg
    key = None if key is None else named_key(key, 'encoder')

    # Padding is a document by itself, which no other token attends to.
    mask_BM = jnp.ones(tokens_BM.shape, bool)
    segments_BM = None
    if weights_BM is not None:
      mask_BM = jnp.asarray(weights_BM > 0)
      segments_BM = mask_BM.astype(jnp.int32)
    batch = Batch(tokens_BM, segments=segments_BM)

    positions = _token_positions(batch, 0, tokens_BM.shape[1])
    x_BMD = self._embed(batch, positions.in_document_BL, hypers, key)
    output = self.encoder(x_BMD, StackInputs(batch, positions, hypers, key))
    x_BMD = self.encoder_final_norm(output.x_BLD) if cfg.final_norm else output.x_BLD
    return EncoderOutput(x_BMD, mask_BM), output.aux

  def _embed(
    self,
    batch: Batch,
    positions_BL: Array,
    hypers: ModelHypers,
    key: jax.Array | None,
  ) -> jax.Array:
    """Returns the sum of token, type and position embeddings, normalized and dropped out."""
    cfg = self.cfg
    x = self.embedding(batch.tokens)
    if cfg.token_types:
      x = self.token_types(x, batch.token_types)
    if cfg.position in ('learned', 'sinusoidal'):
      x = self.positional(x, positions_BL)
    if cfg.embedding_norm:
      x = self.embedding_norm(x)
    if cfg.embedding_dropout != 0 and key is not None:
      x = dropout(x, hypers['embedding_dropout'], named_key(key, 'embedding_dropout'))
    if cfg.embedding_projection == 'sum':
      x = self.embedding.project_sum(x)
    return x

  def logits(self, x_BLD: jax.Array) -> jax.Array:
    """Returns logits (..., V) float32 for features (..., D)."""
    return self.output(x_BLD, self.embedding.table)

  def __call__(self, batch: Batch, hypers: ModelHypers) -> jax.Array:
    """Returns logits (B, L, V) float32. Initialization alone calls it."""
    return self.logits(self.features(batch, hypers).x_BLD)


def _token_positions(
  batch: Batch, start: jax.Array | int, n_keys: int
) -> TokenPositions:
  positions_BL = batch.positions
  if positions_BL is None:
    positions_BL = (start + jnp.arange(batch.tokens.shape[1]))[None]
  return TokenPositions(positions_BL, start, n_keys)


def _cache_length(cfg: ModelConfig, cache: Cache, length: int) -> int:
  """Returns the number of tokens that the keys of a cache have room for.

  It is `length` if no layer is an attention.
  """
  for i, (first, _) in enumerate(cfg.segments):
    if cfg.mixers[first] == 'attention':
      keys_NBM = cache.segments[f'segment_{i}'].mixer[0]
      return keys_NBM.shape[2]
  return length


# --- pure functions -----------------------------------------------------------------


@dataclasses.dataclass(frozen=True, eq=False)
class Model:
  """A network as pure functions of a nested dict of parameters.

  Attributes:
    cfg: Structure.
    shapes: Nested dict of `jax.ShapeDtypeStruct`: the shapes of the parameters.
  """

  cfg: ModelConfig
  shapes: PyTree
  _module: Transformer = dataclasses.field(repr=False)

  def init(self, key: jax.Array, hypers: ModelHypers) -> PyTree:
    """Returns the parameters at step 0, a nested dict of float32 arrays.

    Args:
      key: Root PRNG key.
      hypers: Traced numbers of the section `model`. `init_scale` is read.
    """

    def init_one(param: Param, shape: jax.ShapeDtypeStruct) -> jax.Array:
      del shape
      return init_param(param, self.cfg, key, hypers)

    return map_params(init_one, self.shapes)

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
      key: PRNG key of the step. If None, nothing is random.
      cache: Cache, or None.
    """
    return self._apply(params, 'features', batch, hypers, key, cache)

  def logits(self, params: PyTree, hypers: ModelHypers, x_BLD: jax.Array) -> jax.Array:
    """Returns logits (..., V) float32 for features (..., D) float32."""
    del hypers
    return self._apply(params, 'logits', x_BLD)

  def auxiliary_loss(self, aux: RoutingStatistics, hypers: ModelHypers) -> jax.Array:
    """Returns what layers add to the objective, mean nats per token.

    Args:
      aux: Routing statistics that `features` returned. Not empty.
      hypers: Traced numbers of the section `model`.
    """
    return routing_loss(aux, hypers)

  def update_state(
    self, params: PyTree, aux: RoutingStatistics, hypers: ModelHypers
  ) -> PyTree:
    """Returns parameters with new values of the `state` leaves, which have no gradient.

    Args:
      params: Parameters after an update.
      aux: Routing statistics that `features` returned.
      hypers: Traced numbers of the section `model`.
    """
    if not self.cfg.router_correction:
      return params
    return update_corrections(params, aux, hypers)

  def _apply(self, params: PyTree, method: str, *args: PyTree) -> PyTree:
    """Returns the result of a method of the module."""
    return self._module.apply({'params': params}, *args, method=method)

  def init_cache(self, batch_size: int, length: int, encoder_length: int = 0) -> Cache:
    """Returns an empty cache.

    Args:
      batch_size: B.
      length: Number of tokens that the cache has room for.
      encoder_length: Number of tokens of the encoder. 0 without an encoder.
    """
    cfg = self.cfg
    segments: SegmentCaches = {}
    for i, (first, n_layers) in enumerate(cfg.segments):
      arrays = init_mixer_cache(
        cfg, cfg.mixers[first], n_layers, batch_size, length, encoder_length
      )
      cross_attention = None
      if cfg.is_encoder_decoder:
        cross_attention = arrays[2:]
        arrays = arrays[:2]
      segments[f'segment_{i}'] = BlockCache(arrays, cross_attention)
    encoder_mask_BM = None
    if cfg.is_encoder_decoder:
      encoder_mask_BM = jnp.zeros((batch_size, encoder_length), bool)
    return Cache(segments, jnp.int32(0), encoder_mask_BM)

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
      hypers: Traced numbers of the section `model`. None stands for an empty dict.
      encoder_tokens_BM: (B, M) int32, tokens that an encoder-decoder's encoder reads.
    """
    hypers = {} if hypers is None else hypers
    batch = Batch(tokens_BL, encoder_tokens=encoder_tokens_BM)
    features = self.features(params, hypers, batch)
    return self.logits(params, hypers, features.x_BLD)


@functools.cache
def build(cfg: ModelConfig) -> Model:
  """Returns the network of a structure.

  Args:
    cfg: Structure, or a whole config. `vocab_size` has to be set, and `dtype` has to be
      'float32' or 'bfloat16'.
  """
  module = Transformer(cfg)

  def init(tokens_BL: jax.Array) -> PyTree:
    encoder_tokens_BM = tokens_BL if cfg.is_encoder_decoder else None
    batch = Batch(tokens_BL, encoder_tokens=encoder_tokens_BM)
    return module.init(jax.random.key(0), batch, {})

  tokens_BL = jax.ShapeDtypeStruct((1, min(cfg.max_seq_len, 8)), jnp.int32)
  shapes = jax.eval_shape(init, tokens_BL)['params']
  return Model(cfg, shapes, module)


def init_param(
  param: Param, cfg: ModelConfig, key: jax.Array, hypers: ModelHypers
) -> jax.Array:
  """Returns one parameter at step 0, float32.

  Weights and tables are normal, scales are the identity, biases and states are zero. A token
  mixer may have parameters with another law.

  Args:
    param: Parameter. Its path names its random draw.
    cfg: Structure. `init` and `norm_unit_offset` are read.
    key: Root PRNG key.
    hypers: Traced numbers of the section `model`. `init_scale` multiplies the standard
      deviation.

  Source: GPT-2 for 0.02, and for the division of residual outputs by sqrt(2 n_layers).
  """
  if param.role == 'scale' and param.kind == 'normalization':
    identity = 0.0 if cfg.norm_unit_offset else 1.0
    return jnp.full(param.shape, identity, jnp.float32)
  param_key = named_key(key, f'init/{param.path}')
  custom = custom_init(param.path, param_key, param.shape)
  if custom is not None:
    return custom
  if param.role in ('bias', 'state'):
    return jnp.zeros(param.shape, jnp.float32)

  # std = fan_in ** -0.5, or 0.02. The logits of the head start small in any case.
  is_hidden_weight = param.role == 'weight' and param.kind != 'output'
  by_fan_in = cfg.init == 'fan_in' and is_hidden_weight
  if by_fan_in or uses_fan_in_init(param.path):
    std = param.fan_in**-0.5
  else:
    std = INIT_STD
  if param.spec.residual:
    std = std * cfg.residual_init_factor
  draw = jax.random.normal(param_key, param.shape, jnp.float32)
  return draw * (std * hypers['init_scale'])
