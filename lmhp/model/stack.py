"""A stack of layers: an encoder or a decoder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

import flax.linen as nn
import jax
import jax.numpy as jnp

from lmhp.model.attention.position_biases import RelativeBias
from lmhp.model.attention.windowed_caches import WindowedCaches, cache_places
from lmhp.model.block import Block, BlockCache, VaryingFlags, WindowedBlock
from lmhp.model.config import ModelConfig
from lmhp.model.layer_inputs import StackInputs, compute_layer_inputs

CHECKPOINT_POLICIES = {
  'dots': jax.checkpoint_policies.dots_saveable,
  'dots_with_no_batch_dims': jax.checkpoint_policies.dots_with_no_batch_dims_saveable,
}
"""{value of `model.remat`: policy that selects the arrays kept for the backward pass}.

The value 'full' has no policy, so no arrays inside a layer are kept.
"""

SegmentCaches: TypeAlias = dict[str, BlockCache | WindowedCaches]
"""{name of a segment, such as 'segment_0': caches of its N layers}.

The arrays of a `BlockCache` have a first axis N. The layers of a segment with windows have
`WindowedCaches`.

A segment is a run of neighbouring layers whose parameters have the same names and shapes.
"""

RoutingStatistics: TypeAlias = dict[str, dict[str, jax.Array]]
"""{path of a segment, such as 'decoder/segment_0': {name of a statistic: array}}.

A statistic, such as 'expert_load', has a first axis N, the layers of the segment.
"""


class StackOutput(NamedTuple):
  """Output of a stack.

  Attributes:
    x_BLD: (B, L, D) float32, residual stream after the last layer.
    caches: Caches with the new tokens. None if there was no cache.
    aux: Routing statistics of the segments that have experts.
  """

  x_BLD: jax.Array
  caches: SegmentCaches | None
  aux: RoutingStatistics


class Stack(nn.Module):
  """The layers of an encoder or of a decoder.

  Neighbouring layers whose parameters have the same names and shapes are one segment. The
  parameters of its N layers are arrays with a first axis N. The segment is scanned, or unrolled
  if `model.scan_layers` is False. If `model.share_layers`, all layers use one set of parameters,
  without the axis N.

  Layers that differ only in their attention (local or global) or in the use of positions may be in
  one segment. The scan reads these differences as arrays (`VaryingFlags`).

  Attributes:
    cfg: Config of the model, or of its encoder (`ModelConfig.encoder`).
  """

  cfg: ModelConfig

  @nn.compact
  def __call__(
    self, x_BLD: jax.Array, inputs: StackInputs, caches: SegmentCaches | None = None
  ) -> StackOutput:
    """Returns the output of the last layer.

    Args:
      x_BLD: (B, L, D) float32, embedded tokens.
      inputs: Other inputs of the stack.
      caches: Caches of all segments. None if no cache is used.
    """
    # Inputs that all layers share.
    cfg = self.cfg
    relative_bias_1HLM = None
    if cfg.position == 't5':
      relative_bias_1HLM = RelativeBias(cfg, name='relative_bias')(
        inputs.positions.distance_LM
      )
    layer_inputs = compute_layer_inputs(cfg, inputs, relative_bias_1HLM)

    # The segments in turn.
    new_caches: SegmentCaches = {}
    aux: RoutingStatistics = {}
    for i, (first, n_layers) in enumerate(cfg.segments):
      name = f'segment_{i}'
      flags = varying_flags(cfg, first, n_layers)
      cache = BlockCache() if caches is None else caches[name]
      if isinstance(cache, WindowedCaches):
        segment = self._segment(WindowedBlock, name, first, n_layers)
        is_local = [
          window is not None for window in cfg.windows[first : first + n_layers]
        ]
        (x_BLD, new_caches[name]), layer_aux = segment(
          (x_BLD, cache), (flags, cache_places(is_local)), layer_inputs
        )
      else:
        segment = self._segment(Block, name, first, n_layers)
        x_BLD, (new_caches[name], layer_aux) = segment(
          x_BLD, (flags, cache), layer_inputs
        )
      if layer_aux:
        aux[f'{self.name}/{name}'] = layer_aux
    return StackOutput(x_BLD, None if caches is None else new_caches, aux)

  def _segment(
    self, block: type[Block | WindowedBlock], name: str, first: int, n_layers: int
  ) -> nn.Module:
    """Returns a module that applies layers `first` to `first + n_layers - 1` in turn."""
    cfg = self.cfg
    if cfg.remat != 'none':
      policy = CHECKPOINT_POLICIES.get(cfg.remat)
      # Outside a scan, `prevent_cse` keeps XLA from merging the recomputed arrays with those of
      # the forward pass. In a scan over several layers, XLA cannot merge them. It removes the
      # loop of a single layer.
      is_loop = cfg.scan_layers and n_layers > 1
      block = nn.remat(block, policy=policy, prevent_cse=not is_loop)
    scan = nn.scan(
      block,
      variable_axes={} if cfg.share_layers else {'params': 0},
      variable_broadcast='params' if cfg.share_layers else False,
      split_rngs={'params': not cfg.share_layers},
      # Flags and caches have the axis N, layer inputs have not. Flax declares this argument as
      # an int, but documents a tree of ints and `nn.broadcast`.
      in_axes=(0, nn.broadcast),  # pyright: ignore[reportArgumentType]
      length=n_layers,
      unroll=1 if cfg.scan_layers else n_layers,
      # For this check, Flax traces the layer once more, outside the loop. With shared layers,
      # it would also compute there the values that depend only on the parameters, so the check
      # is off. Initialization needs it: without it, Flax does not return new parameters.
      check_constancy_invariants=not cfg.share_layers or self.is_initializing(),
    )
    # These properties of the first layer are read if all layers of the segment share them.
    return scan(
      cfg,
      local=cfg.windows[first] is not None,
      uses_positions=cfg.uses_positions[first],
      spec=cfg.layer_specs[first],
      name=name,
    )


def varying_flags(cfg: ModelConfig, first: int, n_layers: int) -> VaryingFlags:
  """Returns the flags of layers `first` to `first + n_layers - 1`, with a first axis N.

  `local` or `uses_positions` is None if it is the same in all these layers.
  """
  layers = slice(first, first + n_layers)
  return VaryingFlags(
    number=first + jnp.arange(n_layers),
    local=_array_if_varying([window is not None for window in cfg.windows[layers]]),
    uses_positions=_array_if_varying(cfg.uses_positions[layers]),
  )


def _array_if_varying(flags: Sequence[bool]) -> jax.Array | None:
  return jnp.array(flags) if len(set(flags)) > 1 else None
