"""Inputs of layers besides the residual stream: flags of each layer, and shared inputs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, TypeAlias, TypeVar

import jax
import jax.numpy as jnp

from lmhp.model.attention.masks import AttentionMasks, TokenPositions, attention_masks
from lmhp.model.attention.position_biases import alibi_bias
from lmhp.model.attention.rotary import RotaryTable, rotary_table
from lmhp.model.batch import Batch
from lmhp.model.config import ModelConfig

T = TypeVar('T')

ModelHypers: TypeAlias = Mapping[str, jax.Array]
"""Traced numbers of the section `model`, `Hypers['model']`."""


class LayerFlags(NamedTuple):
  """Properties of one layer.

  A property that differs between the layers of one scan is a traced array of one element. A
  property that is the same in all of them is a bool.

  Attributes:
    number: Number of the layer, int32, from 0. The PRNG keys of its dropout depend on it.
    local: True if the layer has local attention.
    uses_positions: True if the layer uses positions.
  """

  number: jax.Array | int
  local: jax.Array | bool
  uses_positions: jax.Array | bool


def choose(flag: jax.Array | bool, if_true: T, if_false: T) -> T:
  """Returns one of two arrays, or trees of arrays, of the same shapes.

  Args:
    flag: A Python bool, or a traced bool array of one element.
    if_true: Result if the flag is True.
    if_false: Result if the flag is False.
  """
  if isinstance(flag, bool):
    return if_true if flag else if_false
  return jax.tree.map(lambda x, y: jnp.where(flag, x, y), if_true, if_false)


class LayerInputs(NamedTuple):
  """Inputs that all layers of a stack share. They are computed once for a batch.

  Attributes:
    masks: Masks of layers with global and with local attention.
    rotary_global: Cosines and sines of the rotation angles, for layers with global attention.
      None without rotary positions.
    rotary_local: Cosines and sines for layers with local attention. None without rotary
      positions.
    bias_1HLM: (1, H, L, M) float32, added to the attention logits (ALiBi, T5). None if there
      is none.
    hypers: Traced numbers of the section `model`.
    key: PRNG key of the step. None if nothing is random.
    start: Number of tokens that the cache holds already, int32. 0 without a cache.
    encoder_features_BMD: (B, M, D) float32, output of the encoder. None without an encoder,
      or if the cache holds keys and values of its tokens.
    encoder_mask_BLM: (B, 1, 1, M) bool, False for padding of the encoder's tokens. None
      without an encoder.
    temperature_BL11: (B, L, 1, 1) float32, factor on the queries of layers without
      positions. None if there is none.
    document_start_BL: (B, L) bool, True for the first token of each document except at the
      start of the sequence. Recurrent layers reset their state at this token. None if a
      sequence is one document, or if all layers are attention.
  """

  masks: AttentionMasks
  rotary_global: RotaryTable | None
  rotary_local: RotaryTable | None
  bias_1HLM: jax.Array | None
  hypers: ModelHypers
  key: jax.Array | None
  start: jax.Array | int
  encoder_features_BMD: jax.Array | None = None
  encoder_mask_BLM: jax.Array | None = None
  temperature_BL11: jax.Array | None = None
  document_start_BL: jax.Array | None = None

  def mask_BLM(self, flags: LayerFlags) -> jax.Array:
    """Returns the mask of a layer, (B, 1, L, M) bool."""
    return choose(flags.local, self.masks.local_BLM, self.masks.global_BLM)

  def rotary(self, flags: LayerFlags) -> RotaryTable | None:
    """Returns the rotation angles of a layer. None without rotary positions."""
    return choose(flags.local, self.rotary_local, self.rotary_global)


# --- construction -------------------------------------------------------------------


class EncoderOutput(NamedTuple):
  """Output of the encoder, to which a decoder attends.

  Attributes:
    features_BMD: (B, M, D) float32. None if the cache holds the keys and values of the
      encoder's tokens.
    mask_BM: (B, M) bool, False for padding.
  """

  features_BMD: jax.Array | None
  mask_BM: jax.Array


class StackInputs(NamedTuple):
  """Inputs of a stack of layers besides the residual stream, for one batch.

  Attributes:
    batch: Batch. Its segments and prefix lengths are read.
    positions: Positions of the new tokens.
    hypers: Traced numbers of the section `model`.
    key: PRNG key of the step. None if nothing is random.
    encoder: Output of the encoder to which the stack attends. None for a stack without
      cross-attention.
  """

  batch: Batch
  positions: TokenPositions
  hypers: ModelHypers
  key: jax.Array | None
  encoder: EncoderOutput | None = None


def compute_layer_inputs(
  cfg: ModelConfig, inputs: StackInputs, relative_bias_1HLM: jax.Array | None
) -> LayerInputs:
  """Returns the inputs that all layers of a stack share.

  Args:
    cfg: Config of the model.
    inputs: Inputs of the stack.
    relative_bias_1HLM: (1, H, L, M) float32, T5's bias. None unless `model.position` is 't5'.
  """
  # Masks and rotation angles of layers with global and with local attention.
  positions = inputs.positions
  masks = attention_masks(cfg, inputs.batch, positions)
  rotary_global, rotary_local = _rotary_tables(cfg, positions)

  # Bias on the attention logits.
  bias_1HLM = relative_bias_1HLM
  if cfg.position == 'alibi':
    bias_1HLM = alibi_bias(
      cfg.n_heads, positions.distance_LM, cfg.alibi_scale, not cfg.is_causal
    )

  # Output of the encoder. All tokens of the decoder attend to the same tokens of the encoder.
  encoder = inputs.encoder
  encoder_mask_BLM = None if encoder is None else encoder.mask_BM[:, None, None]

  return LayerInputs(
    masks=masks,
    rotary_global=rotary_global,
    rotary_local=rotary_local,
    bias_1HLM=bias_1HLM,
    hypers=inputs.hypers,
    key=inputs.key,
    start=positions.start,
    encoder_features_BMD=None if encoder is None else encoder.features_BMD,
    encoder_mask_BLM=encoder_mask_BLM,
    temperature_BL11=_temperature(cfg, positions),
    document_start_BL=_document_starts(cfg, inputs.batch),
  )


def _rotary_tables(
  cfg: ModelConfig, positions: TokenPositions
) -> tuple[RotaryTable | None, RotaryTable | None]:
  """Returns the tables of layers with global and with local attention, in this order."""
  if cfg.position != 'rotary':
    return None, None
  rotary_global = rotary_table(cfg, False, positions.in_document_BL, positions.length)
  if cfg.rotary_base_local == cfg.rotary_base and cfg.rotary_scaling_local:
    return rotary_global, rotary_global
  rotary_local = rotary_table(cfg, True, positions.in_document_BL, positions.length)
  return rotary_global, rotary_local


def _temperature(cfg: ModelConfig, positions: TokenPositions) -> jax.Array | None:
  """Returns the factor on queries of layers without positions, (B, L, 1, 1) float32.

  Source: arXiv:2501.19399, in the form of Llama 4.
  """
  if not cfg.attention_temperature:
    return None
  # temperature =
  #   1 + attention_temperature * log(1 + floor((position + 1) / temperature_floor))
  n_floors = jnp.floor((positions.in_document_BL + 1) / cfg.temperature_floor)
  temperature_BL = 1 + cfg.attention_temperature * jnp.log1p(n_floors)
  return temperature_BL[..., None, None]


def _document_starts(cfg: ModelConfig, batch: Batch) -> jax.Array | None:
  """Returns `LayerInputs.document_start_BL`."""
  if not cfg.has_other_mixers or batch.segments is None:
    return None
  # 'edge' makes the first token its own predecessor, so the start of a sequence is not marked.
  previous_BL = jnp.pad(batch.segments, ((0, 0), (1, 0)), mode='edge')[:, :-1]
  return batch.segments != previous_BL
