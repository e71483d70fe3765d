"""The whole network, and `build`, which hands it out as four pure functions."""

from __future__ import annotations

from collections.abc import Callable
import dataclasses
import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from lmhp.model.attention.multi_head import LayerFlags, LayerInputs
from lmhp.model.batch import Batch
from lmhp.model.block import Block
from lmhp.model.config import ModelConfig
from lmhp.model.embedding import Embedding, TokenTypes
from lmhp.model.experts.routing import routing_loss, update_corrections
from lmhp.model.mixers.construction import custom_init, init_mixer_cache
from lmhp.model.mixers.registry import uses_fan_in_init
from lmhp.model.normalization import Normalization
from lmhp.model.output import Output
from lmhp.model.positional import Positional, RelativeBias, alibi_bias, rotary_table
from lmhp.model.rng import dropout, named_key
from lmhp.params import Param, map_params

POLICIES = {
  'full': None,
  'dots': 'dots_saveable',
  'dots_with_no_batch_dims': 'dots_with_no_batch_dims_saveable',
}


def _varies(flags: tuple) -> bool:
  return len(set(flags)) > 1


class Stack(nn.Module):
  """The layers. Alike ones next to each other are one segment, their parameters stacked on N, scanned or unrolled.

  Layers that differ only in what they see (window, positions) are alike: the difference is data of the scan. Shared
  layers are one set of parameters without N.
  """

  cfg: ModelConfig

  @nn.compact
  def __call__(self, x_BLD, scene: LayerInputs, distance_LM, cache=None):
    cfg = self.cfg
    if cfg.position == 't5':
      scene = scene._replace(
        bias_1HLM=RelativeBias(cfg, name='relative_bias')(distance_LM)
      )
    new_cache, aux = {}, {}
    for i, (first, n) in enumerate(cfg.segments):
      name = f'segment_{i}'
      of_segment = None if cache is None else cache[name]
      x_BLD, (new_cache[name], said) = self._segment(name, first, n)(
        x_BLD, (self._layers(first, n), of_segment), scene
      )
      if said:
        aux[f'{self.name}/{name}'] = said
    return x_BLD, None if cache is None else new_cache, aux

  def _segment(self, name: str, first: int, n: int) -> nn.Module:
    """Layers `first` to `first + n`, one after the other."""
    cfg = self.cfg
    block = Block
    if cfg.remat != 'none':
      policy = POLICIES[cfg.remat] and getattr(
        jax.checkpoint_policies, POLICIES[cfg.remat]
      )
      block = nn.remat(Block, policy=policy, prevent_cse=not cfg.scan_layers)
    scan = nn.scan(
      block,
      variable_axes={} if cfg.share_layers else {'params': 0},
      variable_broadcast='params' if cfg.share_layers else False,
      split_rngs={'params': not cfg.share_layers},
      in_axes=(0, nn.broadcast),
      length=n,
      unroll=1 if cfg.scan_layers else n,
      check_constancy_invariants=not cfg.share_layers
      or self.is_initializing(),  # it makes loop constants twice
    )
    return scan(
      cfg,
      local=cfg.windows[first] is not None,
      uses_positions=cfg.uses_positions[first],
      kind=cfg.layer_specs[first],
      name=name,
    )

  def _layers(self, first: int, n: int) -> LayerFlags:
    """What those layers are told of themselves."""
    local = tuple(window is not None for window in self.cfg.windows[first : first + n])
    positioned = self.cfg.uses_positions[first : first + n]
    return LayerFlags(
      index=first + jnp.arange(n),
      local=jnp.array(local) if _varies(local) else None,
      uses_positions=jnp.array(positioned) if _varies(positioned) else None,
    )


class Transformer(nn.Module):
  """Embedding, positions, segments; a decoder, an encoder or both, each with its final normalization; and the head."""

  cfg: ModelConfig

  def setup(self):
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

  def features(self, batch, hypers, key=None, cache=None):
    """Features (B, L, D) float32 before the head, what experts say of their routing, and the cache."""
    cfg, length = self.cfg, batch.tokens.shape[1]
    start = 0 if cache is None else cache['length']
    attending = [
      f'segment_{i}'
      for i, (first, _) in enumerate(cfg.segments)
      if cfg.mixers[first] == 'attention'
    ]
    keys = length if cache is None or not attending else cache[attending[0]][0].shape[2]
    memory, said = None, {}
    if cfg.is_encoder_decoder and batch.encoder_tokens is not None:
      memory, said = self._encode(batch, hypers, key)
    x_BLD, scene, distance_LM = self._prepare(cfg, batch, start, keys, hypers, key)
    if cfg.is_encoder_decoder:
      encoder_mask = cache['encoder_mask'] if memory is None else memory[1]
      scene = scene._replace(
        encoder_features_BMD=memory and memory[0],
        encoder_mask_BLM=encoder_mask[:, None, None],
      )
    stack = self.encoder if cfg.architecture == 'encoder' else self.decoder
    x_BLD, segments, aux = stack(x_BLD, scene, distance_LM, cache)
    aux = said | aux
    if cfg.final_norm:
      x_BLD = self.final_norm(x_BLD)
    if cache is None:
      return x_BLD, aux, None
    return (
      x_BLD,
      aux,
      {**segments, 'length': start + length}
      | ({'encoder_mask': encoder_mask} if cfg.is_encoder_decoder else {}),
    )

  def _encode(self, batch, hypers, key):
    """What an encoder-decoder's encoder makes of its tokens, (B, M, D), and which of them are no padding, (B, M).

    Beside it what its experts say of their routing.
    """
    length = batch.encoder_tokens.shape[1]
    key = None if key is None else named_key(key, 'encoder')
    weights = batch.encoder_weights
    see_BM = (
      jnp.ones(batch.encoder_tokens.shape, bool) if weights is None else weights > 0
    )
    tokens = Batch(
      batch.encoder_tokens,
      segments=None if weights is None else see_BM.astype(jnp.int32),
    )
    x_BMD, scene, distance_MM = self._prepare(
      self.cfg.encoder, tokens, 0, length, hypers, key
    )
    x_BMD, _, aux = self.encoder(x_BMD, scene, distance_MM)
    return (
      self.encoder_final_norm(x_BMD) if self.cfg.final_norm else x_BMD,
      see_BM,
    ), aux

  def _prepare(self, cfg, batch, start, keys, hypers, key):
    """What the first block of a stack reads, what all its layers share, and how far each key lies behind each query."""
    length = batch.tokens.shape[1]
    positions_BL = batch.positions
    if positions_BL is None:
      positions_BL = (start + jnp.arange(length))[None]
    distance_LM = (start + jnp.arange(length))[:, None] - jnp.arange(keys)[None, :]
    x_BLD = self._embed(batch, positions_BL, hypers, key)
    return (
      x_BLD,
      self._scene(cfg, batch, positions_BL, distance_LM, hypers, key, start),
      distance_LM,
    )

  def _embed(self, batch, positions_BL, hypers, key):
    """What the first block reads: rows of tokens, positions and segments, added, normalized, dropped out."""
    cfg = self.cfg
    x_BLD = self.embedding(batch.tokens)
    if cfg.token_types:
      x_BLD = self.token_types(x_BLD, batch.token_types)
    if cfg.position in ('learned', 'sinusoidal'):
      x_BLD = self.positional(x_BLD, positions_BL)
    if cfg.embedding_norm:
      x_BLD = self.embedding_norm(x_BLD)
    if cfg.embedding_dropout != 0 and key is not None:
      x_BLD = dropout(
        x_BLD, hypers['embedding_dropout'], named_key(key, 'embedding_dropout')
      )
    return self.embedding.widen(x_BLD) if cfg.embedding_projection == 'sum' else x_BLD

  def _scene(
    self, cfg, batch, positions_BL, distance_LM, hypers, key, start
  ) -> LayerInputs:
    """What all layers share: who sees whom, angles, biases."""
    keys = distance_LM.shape[1]
    see = (distance_LM >= (0 if cfg.causal else -keys))[None, None]
    see_local = (
      see & (jnp.abs(distance_LM) < cfg.sliding_window)[None, None]
      if cfg.sliding_window
      else see
    )
    if cfg.attention_chunk:
      chunk_BL = positions_BL // cfg.attention_chunk
      chunk_BM = (
        chunk_BL
        if keys == chunk_BL.shape[1]
        else jnp.arange(keys)[None] // cfg.attention_chunk
      )  # in a cache
      see_local = see & (chunk_BL[:, :, None] == chunk_BM[:, None, :])[:, None]
    if batch.prefix_lengths is not None:
      given = (
        jnp.arange(keys)[None, None, None] < batch.prefix_lengths[:, None, None, None]
      )
      near = jnp.abs(distance_LM)[None, None] < (cfg.sliding_window or keys + 1)
      see, see_local = given | see, (given & near) | see_local
    if batch.segments is not None:
      same = (batch.segments[:, :, None] == batch.segments[:, None, :])[:, None]
      see, see_local = (
        same & jnp.broadcast_to(see, same.shape),
        same & jnp.broadcast_to(see_local, same.shape),
      )
    rotary_global = rotary_local = None
    if cfg.position == 'rotary':
      rotary_global = rotary_local = rotary_table(cfg, False, positions_BL, keys)
      if cfg.rotary_base_local != cfg.rotary_base or not cfg.rotary_scaling_local:
        rotary_local = rotary_table(cfg, True, positions_BL, keys)
    bias = (
      alibi_bias(cfg.n_heads, distance_LM, cfg.alibi_scale, not cfg.causal)
      if cfg.position == 'alibi'
      else None
    )
    scene = LayerInputs(
      see, see_local, rotary_global, rotary_local, bias, hypers, key, start
    )
    if cfg.attention_temperature:
      floors = jnp.floor((positions_BL + 1) / cfg.temperature_floor)
      temperature = 1 + cfg.attention_temperature * jnp.log1p(floors)
      scene = scene._replace(temperature_BL11=temperature[..., None, None])
    if cfg.other_mixers and batch.segments is not None:
      before = jnp.pad(batch.segments, ((0, 0), (1, 0)), mode='edge')[:, :-1]
      scene = scene._replace(document_start_BL=batch.segments != before)
    return scene

  def logits(self, x_BLD):
    """(B, L, V) float32 from features."""
    return self.output(x_BLD, self.embedding.table)

  def __call__(self, batch, hypers):
    return self.logits(self.features(batch, hypers)[0])


@dataclasses.dataclass(frozen=True, eq=False)
class Model:
  """A network as pure functions over a nested dict of parameters.

  Attributes:
    cfg: its structure.
    init: `(key, hypers) -> params`; `hypers` is `Hypers['model']`.
    features: `(params, hypers, batch, key=None, cache=None) -> (x_BLD, aux, cache)`; without a key nothing is random.
    logits: `(params, hypers, x_BLD) -> logits_BLV`.
    init_cache: `(batch_size, length, encoder_length=0) -> cache` of empty keys and values.
    shapes: nested dict of `jax.ShapeDtypeStruct`, the parameters before they exist.
    auxiliary_loss: `(aux, hypers) -> loss`: mean loss per token in nats that layers add to
      the objective, from the auxiliary outputs of `features`. Called only if there are any.
    update_state: `(params, aux, hypers) -> params`: parameters after an update, with new
      values of the `state` leaves, which have no gradient.
  """

  cfg: ModelConfig
  init: Callable[..., Any]
  features: Callable[..., Any]
  logits: Callable[..., jax.Array]
  init_cache: Callable[..., Any]
  shapes: Any
  auxiliary_loss: Callable[..., jax.Array]
  update_state: Callable[..., Any]

  def apply(
    self,
    params: Any,
    tokens_BL: jax.Array,
    hypers: dict | None = None,
    *,
    encoder_tokens_BM: jax.Array | None = None,
  ) -> jax.Array:
    """Logits (B, L, V) float32 of tokens (B, L), nothing dropped; an encoder-decoder reads `encoder_tokens_BM` too."""
    hypers = {} if hypers is None else hypers
    batch = Batch(tokens_BL, encoder_tokens=encoder_tokens_BM)
    return self.logits(params, hypers, self.features(params, hypers, batch)[0])


@functools.cache
def build(cfg: ModelConfig) -> Model:
  """The network of a structure (or of a config: only structure is read).

  Args:
    cfg: `vocab_size` must be set and `dtype` resolved to 'float32' or 'bfloat16'.
  """
  module = Transformer(cfg)
  tokens = jax.ShapeDtypeStruct((1, min(cfg.max_seq_len, 8)), jnp.int32)
  batch = lambda t: Batch(t, encoder_tokens=t if cfg.is_encoder_decoder else None)
  shapes = jax.eval_shape(
    lambda t: module.init(jax.random.key(0), batch(t), {}), tokens
  )['params']

  def init(key, hypers):
    return map_params(lambda leaf, shape: initial(leaf, cfg, key, hypers), shapes)

  def features(params, hypers, batch, key=None, cache=None):
    return module.apply(
      {'params': params}, batch, hypers, key, cache, method='features'
    )

  def logits(params, hypers, x_BLD):
    return module.apply({'params': params}, x_BLD, method='logits')

  def update_state(params, aux, hypers):
    return update_corrections(params, aux, hypers) if cfg.router_correction else params

  return Model(
    cfg,
    init,
    features,
    logits,
    functools.partial(init_cache, cfg),
    shapes,
    routing_loss,
    update_state,
  )


def initial(leaf: Param, cfg: ModelConfig, key: jax.Array, hypers: dict) -> jax.Array:
  """One parameter at step 0: normal for weights and tables, the identity for scales, zero for biases.

  Args:
    leaf: which one; its draw is named by its path.
    cfg: `init` and `norm_unit_offset` are read.
    key: root PRNG key.
    hypers: `init_scale` multiplies the standard deviation.

  Source: GPT-2 for 0.02 and for dividing residual outputs by sqrt(2 n_layers).
  """
  if leaf.role == 'scale' and leaf.kind == 'normalization':
    return jnp.full(leaf.shape, 0.0 if cfg.norm_unit_offset else 1.0, jnp.float32)
  by_law = custom_init(leaf.path, named_key(key, f'init/{leaf.path}'), leaf.shape)
  if by_law is not None:
    return by_law
  if leaf.role in ('bias', 'state'):
    return jnp.zeros(leaf.shape, jnp.float32)
  by_fan_in = (
    uses_fan_in_init(leaf.path)
    or cfg.init == 'fan_in'
    and leaf.role == 'weight'
    and leaf.kind != 'output'
  )  # the head's logits start small
  std = leaf.fan_in**-0.5 if by_fan_in else cfg.default_init_std
  std = std * (cfg.residual_init_factor if leaf.spec.residual else 1.0)
  draw = jax.random.normal(named_key(key, f'init/{leaf.path}'), leaf.shape, jnp.float32)
  return draw * (std * hypers['init_scale'])


def init_cache(
  cfg: ModelConfig, batch_size: int, length: int, encoder_length: int = 0
) -> dict:
  """What each segment remembers of no token, and how many tokens that are.

  Of attention keys and values, each (N, B, M, G, K) in the compute dtype (of an encoder-decoder also those of
  `encoder_length` tokens of the encoder); of latent attention its latents; of recurrent layers a state without a length.
  """
  segments = {
    f'segment_{i}': init_mixer_cache(
      cfg, cfg.mixers[first], n, batch_size, length, encoder_length
    )
    for i, (first, n) in enumerate(cfg.segments)
  }
  see = (
    {'encoder_mask': jnp.zeros((batch_size, encoder_length), bool)}
    if cfg.is_encoder_decoder
    else {}
  )
  return {**segments, **see, 'length': jnp.int32(0)}
