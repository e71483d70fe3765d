"""The whole network as one flax module."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from lmhp.model.attention.masks import TokenPositions
from lmhp.model.batch import Array, Batch
from lmhp.model.config import ModelConfig
from lmhp.model.embedding import Embedding, Positional, TokenTypes
from lmhp.model.layer_inputs import EncoderOutput, ModelHypers, StackInputs
from lmhp.model.normalization import Normalization
from lmhp.model.output import Output
from lmhp.model.rng import dropout, named_key
from lmhp.model.stack import RoutingStatistics, SegmentCaches, Stack


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Cache:
  """Arrays that the model keeps between tokens while it decodes.

  Attributes:
    segments: {name of a segment: caches of its layers}. A segment is a run of neighbouring
      layers whose parameters have the same names and shapes.
    length: Number of tokens in the cache, int32.
    encoder_mask_BM: (B, M) bool, True for tokens of the encoder, False for its padding. None
      without an encoder.
    max_length: Number of tokens for which the cache has space.
  """

  segments: SegmentCaches
  length: jax.Array
  encoder_mask_BM: jax.Array | None
  max_length: int = dataclasses.field(metadata={'static': True})


class Features(NamedTuple):
  """Output of the network before the head.

  Attributes:
    x_BLD: (B, L, D) float32, features.
    aux: Routing statistics (such as the load of each expert) of the segments that have
      experts.
    cache: Cache that also holds the new tokens. None if there was no cache.
  """

  x_BLD: jax.Array
  aux: RoutingStatistics
  cache: Cache | None


class Network(nn.Module):
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
      hypers: Traced numbers of the section `model`, such as dropout rates.
      key: PRNG key of the step. If None, there is no dropout.
      cache: Cache, or None.
    """
    cfg = self.cfg

    # Output of the encoder.
    encoder = None
    encoder_aux: RoutingStatistics = {}
    if cfg.is_encoder_decoder:
      encoder, encoder_aux = self._encoder_output(batch, hypers, key, cache)

    # Embedding of the new tokens, whose positions follow those in the cache.
    start = 0 if cache is None else cache.length
    length = batch.tokens.shape[1]
    n_keys = length if cache is None else cache.max_length
    positions = _token_positions(batch, start, n_keys)
    x_BLD = self._embed(batch, positions.in_document_BL, hypers, key)

    # Layers, and the normalization before the head.
    stack = self.encoder if cfg.architecture == 'encoder' else self.decoder
    inputs = StackInputs(batch, positions, hypers, key, encoder)
    output = stack(x_BLD, inputs, None if cache is None else cache.segments)
    x_BLD = self.final_norm(output.x_BLD) if cfg.final_norm else output.x_BLD

    # Cache of the earlier tokens and the new ones.
    new_cache = None
    if cache is not None and output.caches is not None:
      encoder_mask_BM = None if encoder is None else encoder.mask_BM
      new_length = cache.length + length
      new_cache = Cache(output.caches, new_length, encoder_mask_BM, cache.max_length)
    return Features(x_BLD, encoder_aux | output.aux, new_cache)

  def _encoder_output(
    self,
    batch: Batch,
    hypers: ModelHypers,
    key: jax.Array | None,
    cache: Cache | None,
  ) -> tuple[EncoderOutput, RoutingStatistics]:
    """Returns the output of the encoder, and its routing statistics.

    With a cache, only the first batch has encoder tokens. For later batches, the cache holds the
    keys and values of these tokens, so the output has only their mask, and no features.

    Raises:
      ValueError: If the batch has no encoder tokens, and the cache does not hold them either.
    """
    tokens_BM = batch.encoder_tokens
    if tokens_BM is None:
      if cache is None or cache.encoder_mask_BM is None:
        raise ValueError(
          'batch.encoder_tokens: got None without a cache, expected tokens'
        )
      return EncoderOutput(None, cache.encoder_mask_BM), {}
    key = None if key is None else named_key(key, 'encoder')

    # `Batch.segments` numbers documents, and a token attends only within its document. Padding is
    # document 0 here, and all other tokens are document 1.
    mask_BM = jnp.ones(tokens_BM.shape, bool)
    segments_BM = None
    if batch.encoder_weights is not None:
      mask_BM = jnp.asarray(batch.encoder_weights > 0)
      segments_BM = mask_BM.astype(jnp.int32)
    batch = Batch(tokens_BM, segments=segments_BM)

    positions = _token_positions(batch, 0, tokens_BM.shape[1])
    x_BMD = self._embed(batch, positions.in_document_BL, hypers, key)
    output = self.encoder(x_BMD, StackInputs(batch, positions, hypers, key))
    x_BMD = (
      self.encoder_final_norm(output.x_BLD) if self.cfg.final_norm else output.x_BLD
    )
    return EncoderOutput(x_BMD, mask_BM), output.aux

  def _embed(
    self,
    batch: Batch,
    positions_BL: Array,
    hypers: ModelHypers,
    key: jax.Array | None,
  ) -> jax.Array:
    """Returns the sum of token, type and position embeddings after norm and dropout."""
    cfg = self.cfg
    x = self.embedding(batch.tokens)
    if cfg.token_types:
      x = self.token_types(x, batch.token_types)
    if cfg.position in ('learned', 'sinusoidal'):
      x = self.positional(x, positions_BL)
    if cfg.embedding_norm:
      x = self.embedding_norm(x)
    # The rate in `cfg` is 0 if the program has no dropout. Otherwise, `cfg` may hold a
    # placeholder, and the rate is in `hypers`.
    if cfg.embedding_dropout != 0 and key is not None:
      x = dropout(x, hypers['embedding_dropout'], named_key(key, 'embedding_dropout'))
    # ALBERT: the sum has the width of the table, and is projected to d_model.
    if cfg.embedding_projection == 'sum':
      x = self.embedding.project(x)
    return x

  def logits(self, x_BLD: jax.Array) -> jax.Array:
    """Returns logits (..., V) float32 for features (..., D)."""
    return self.output(x_BLD, self.embedding.table)

  def __call__(self, batch: Batch, hypers: ModelHypers) -> jax.Array:
    """Returns logits (B, L, V) float32, without dropout."""
    return self.logits(self.features(batch, hypers).x_BLD)


def _token_positions(
  batch: Batch, start: jax.Array | int, n_keys: int
) -> TokenPositions:
  """Returns the positions of the tokens of a batch.

  Args:
    batch: Batch. If it has no positions, its tokens follow those in the cache.
    start: Number of tokens that the cache holds already.
    n_keys: Number of keys to which a token may attend, those in the cache included.
  """
  positions_BL = batch.positions
  if positions_BL is None:
    positions_BL = (start + jnp.arange(batch.tokens.shape[1]))[None]
  return TokenPositions(positions_BL, start, n_keys)
