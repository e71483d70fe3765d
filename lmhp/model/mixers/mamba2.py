"""Registration of the mixer `mamba2`. This file imports no jax."""

from __future__ import annotations

from collections import Counter

from lmhp.declarations import static
from lmhp.model.config import ModelConfig
from lmhp.model.counts import norm_size
from lmhp.model.mixers.keys import (
  CONVOLUTION_KERNEL,
  CONVOLUTION_PARAMS,
  ConvolutionKeys,
  MixerHeadKeys,
  convolution_cache,
  convolution_parameters,
  mixer_heads,
  projection_flops,
  projection_parameters,
  resolve_mixer_heads,
)
from lmhp.model.mixers.registry import CacheArray, Counts, MixerSpec, register_mixer
from lmhp.params import ParamSpec, linear_specs, norm_specs
from lmhp.sections import keys, keys_of, require


@keys
class Mamba2Keys(ConvolutionKeys, MixerHeadKeys):
  """Keys of Mamba-2."""

  state_dim: int = static(
    64,
    "size of Mamba-2's state for each of the mixer_dim channels",
    low=1,
    aliases=('state_size', 'd_state', 'mamba_d_state', 'ssm_state_size'),
    source='arXiv:2405.21060',
  )
  state_groups: int = static(
    1,
    'number of groups of heads; the heads of a group share write and read vectors (B and C of '
    'Mamba-2)',
    low=1,
    aliases=('n_groups', 'mamba_n_groups', 'mamba_ngroups'),
  )
  state_chunk: int = static(
    64,
    'length of the chunks within which Mamba-2 is computed as attention',
    low=1,
    unit='tokens',
    aliases=('chunk_size', 'mamba_chunk_size'),
  )


def resolve(cfg: ModelConfig) -> None:
  """Fills in and checks the keys of Mamba-2.

  Raises:
    ConfigError: If the keys do not fit together.
  """
  resolve_mixer_heads(cfg)
  n_heads = mixer_heads(cfg)
  require(
    cfg,
    n_heads % keys_of(cfg, Mamba2Keys).state_groups == 0,
    'state_groups',
    f'a divisor of the number of heads, model.mixer_dim / model.mixer_head_dim = {n_heads}',
  )


def group_width(cfg: ModelConfig) -> int:
  """Returns the joint width of the write vectors of all groups, or of their read vectors."""
  sizes = keys_of(cfg, Mamba2Keys)
  return sizes.state_groups * sizes.state_dim


def parameter_counts(cfg: ModelConfig) -> Counts:
  """Returns {kind: number of parameters} of one layer.

  'other' is the kind of the token mixers that are not attention.
  """
  width = keys_of(cfg, Mamba2Keys).mixer_dim
  # x, write and read pass through the convolution. The gate and the steps do not.
  convolved = width + 2 * group_width(cfg)
  n_heads = mixer_heads(cfg)
  projections = projection_parameters(cfg, width + convolved + n_heads)
  convolution = convolution_parameters(cfg, convolved)
  head_vectors = 3 * n_heads  # step_bias, log_decay and skip
  return Counter(
    other=projections + convolution + head_vectors,
    normalization=norm_size(cfg, width),
  )


def weight_flops(cfg: ModelConfig) -> Counts:
  """Returns the forward FLOPs of one layer's projections for one token, by kind."""
  width = keys_of(cfg, Mamba2Keys).mixer_dim
  projected_width = 2 * width + 2 * group_width(cfg) + mixer_heads(cfg)
  return Counter(other=projection_flops(cfg, projected_width))


def sequence_flops(
  cfg: ModelConfig, seq_len: int, window: int | None, causal: bool
) -> int:
  """Returns the forward FLOPs of one layer's state space for one sequence.

  The last chunk is padded to full length, and all pairs of tokens of a chunk are multiplied,
  so `window` and `causal` have no effect.
  """
  sizes = keys_of(cfg, Mamba2Keys)
  length = min(seq_len, sizes.state_chunk)
  n_chunks = -(-seq_len // length)

  # FLOPs for one token.
  logits = 2 * length * group_width(cfg)
  weighted_inputs = 2 * length * sizes.mixer_dim
  state_write_and_read = 4 * sizes.state_dim * sizes.mixer_dim
  return n_chunks * length * (logits + weighted_inputs + state_write_and_read)


def cache_arrays(cfg: ModelConfig) -> tuple[CacheArray, ...]:
  """Returns the arrays of the cache of one layer: inputs of the convolution, and the state."""
  sizes = keys_of(cfg, Mamba2Keys)
  state = (mixer_heads(cfg), sizes.mixer_head_dim, sizes.state_dim)
  return (
    convolution_cache(cfg, sizes.mixer_dim + 2 * group_width(cfg)),
    CacheArray(state, 'float32'),
  )


_LAYER = 'lmhp.model.mixers.layers.mamba2'

register_mixer(
  'mamba2',
  MixerSpec(
    layer=f'{_LAYER}:Mamba2',
    parameter_counts=parameter_counts,
    weight_flops=weight_flops,
    cache_arrays=cache_arrays,
    # Axes are `contracted > produced` (see `lmhp.params`): D is d_model, I is mixer_dim, Y is
    # `group_width`, H is the heads. For the optimizer, `log_decay` has the role of a bias, and
    # `skip` the role of a scale.
    params=(
      *linear_specs('**/mamba2/gate', 'other', 'D > I'),
      *linear_specs('**/mamba2/input', 'other', 'D > I'),
      *linear_specs('**/mamba2/write', 'other', 'D > Y'),
      *linear_specs('**/mamba2/read', 'other', 'D > Y'),
      *linear_specs('**/mamba2/step', 'other', 'D > H'),
      *linear_specs('**/mamba2/output', 'other', 'I > D', residual=True),
      ParamSpec('**/mamba2/step_bias', 'other', 'bias', 'H'),
      ParamSpec('**/mamba2/log_decay', 'other', 'bias', 'H'),
      ParamSpec('**/mamba2/skip', 'other', 'scale', 'H'),
      *norm_specs('**/mamba2/norm', 'I'),
      *CONVOLUTION_PARAMS,
    ),
    keys=Mamba2Keys,
    resolve=resolve,
    sequence_flops=sequence_flops,
    custom_inits={
      '**/mamba2/log_decay': f'{_LAYER}:init_log_decay',
      '**/mamba2/step_bias': f'{_LAYER}:init_step_bias',
      '**/mamba2/skip': f'{_LAYER}:init_skip',
    },
    # Weights whose initial standard deviation is fan_in ** -0.5, for any `model.init`.
    fan_in_weights=(CONVOLUTION_KERNEL,),
  ),
)
