"""Registry of token mixers.

A token mixer is the part of a layer that moves information between tokens: attention, a
convolution or a recurrence. Config, counting, initialization, training and decoding read
everything about a mixer from its entry, a `MixerSpec`.

A mixer of lmhp is two files. `mixers/NAME.py` holds its keys, the specifications of its
parameters, its counts, its checks and its call of `register_mixer`. `mixers/layers/NAME.py`
holds its flax module. LSTM and GRU share the two files `gated_recurrence.py`. A mixer from
outside lmhp calls `register_mixer` in the same way.

This file and the files `mixers/NAME.py` import no jax.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
import dataclasses
import itertools
from typing import Literal, TypeAlias

from lmhp.model.config import MIXER_NAMES, PART_RESOLVERS, ModelConfig
from lmhp.params import ParamSpec, matches, register_params
from lmhp.registry import Registry, import_object
from lmhp.sections import add_keys, require
from lmhp.typing import PyTree

Counts: TypeAlias = Counter[str]
"""Numbers of parameters or of FLOPs by kind (`lmhp.params.KINDS`)."""

Initializer: TypeAlias = Callable[..., PyTree]
"""`(key, shape) -> array`, the initial value of a parameter."""


@dataclasses.dataclass(frozen=True)
class CacheArray:
  """One array that a layer keeps between tokens while it decodes.

  Attributes:
    shape: Sizes of the axes, without layers, batch and tokens, such as (key/value heads, head
      size).
    dtype: Data type.
    tokens: 'decoder' if the array has an axis of cached tokens (keys and values), 'encoder'
      if it has an axis of the encoder's tokens, and empty if it has no axis of tokens (a
      recurrent state). The axis of tokens comes before those in `shape`.
  """

  shape: tuple[int, ...]
  dtype: str
  tokens: Literal['', 'decoder', 'encoder'] = ''

  def full_shape(self, length: int, encoder_length: int) -> tuple[int, ...]:
    """Returns `shape` with the axis of tokens in front, if there is one.

    Args:
      length: Number of tokens that are cached.
      encoder_length: Number of tokens of the encoder.
    """
    lengths = {'': (), 'decoder': (length,), 'encoder': (encoder_length,)}
    return (*lengths[self.tokens], *self.shape)


def _no_flops(*_arguments: object) -> int:
  """Returns 0: all matrix products of the mixer have a weight as an operand."""
  return 0


def _nothing_to_resolve(cfg: ModelConfig) -> None:
  """Does nothing: the mixer has no derived keys."""


@dataclasses.dataclass(frozen=True)
class MixerSpec:
  """Entry of a token mixer.

  Attributes:
    layer: The flax module, a class that follows `lmhp.model.block.MixerLayer`, or its import
      path `package.module:Class`, so that the entry needs no flax.
    parameter_counts: `(cfg) -> counts`, numbers of parameters of one layer, by kind.
    weight_flops: `(cfg) -> counts`, forward FLOPs of one layer for one token, by kind. Only
      matrix products with a weight are counted.
    cache_arrays: `(cfg) -> arrays`, cache of one layer.
    params: Specifications of the parameters.
    keys: Class made by `lmhp.sections.keys` with the config keys of the mixer, which are added
      to the section `model`. None if the mixer has no keys.
    resolve: `(cfg) -> None`, fills in derived keys with `lmhp.sections.assign`, and checks
      the keys. It runs if `model.mixer_pattern` names the mixer.
    sequence_flops: `(cfg, seq_len, window, causal) -> FLOPs`, forward FLOPs of one layer for one
      sequence. Only matrix products without a weight are counted, such as queries times
      keys. `window` is the attention window of the layer in tokens, or None. If `causal` is
      True, only the products that the mask keeps are counted, else all.
    custom_inits: {pattern of a parameter's path: function or its import path}, for
      parameters whose initial values are not those that `lmhp.model.transformer.init_param`
      gives to their role. The function is `(key, shape) -> array`.
    fan_in_weights: Patterns of the weights that start with a standard deviation of
      fan_in ** -0.5, for any `model.init`.
    needs_decoder: True if the mixer cannot attend to later tokens, so that it needs
      `model.architecture='decoder'` without `model.prefix_lm`.
    variant: `(cfg) -> spec`, for a mixer with several forms, such as multi-head and latent
      attention. It returns the entry of the form that the config selects. None if the mixer has
      one form.
  """

  layer: str | type
  parameter_counts: Callable[[ModelConfig], Counts]
  weight_flops: Callable[[ModelConfig], Counts]
  cache_arrays: Callable[[ModelConfig], tuple[CacheArray, ...]]
  params: tuple[ParamSpec, ...] = ()
  keys: type | None = None
  resolve: Callable[[ModelConfig], None] = _nothing_to_resolve
  sequence_flops: Callable[[ModelConfig, int, int | None, bool], int] = _no_flops
  custom_inits: Mapping[str, str | Initializer] = dataclasses.field(
    default_factory=dict
  )
  fan_in_weights: tuple[str, ...] = ()
  needs_decoder: bool = True
  variant: Callable[[ModelConfig], MixerSpec] | None = None


MIXERS: Registry[MixerSpec] = Registry('mixer')
"""{name, a value of `model.mixer_pattern`: entry of the token mixer}."""


def register_mixer(name: str, spec: MixerSpec) -> None:
  """Adds a token mixer.

  Its name becomes a value of `model.mixer_pattern`, its keys become keys of the section
  `model`, and the specifications of its parameters are added to the table in `lmhp.params`. In
  the tree of parameters the mixer has the path `decoder/segment_I/NAME`, with I the number of
  the segment, a run of equal layers.

  Args:
    name: Name of the mixer.
    spec: Entry of the mixer.

  Raises:
    ConfigError: If another module has registered this name, or if the section `model` already
      has a key with the same name as a key of the mixer, but another declaration.
  """
  if spec.keys is not None:
    add_keys(ModelConfig, spec.keys)
  register_params(spec.params)
  MIXERS.register(name, spec)
  if name not in MIXER_NAMES:
    MIXER_NAMES.append(name)


def mixer_spec(cfg: ModelConfig, name: str) -> MixerSpec:
  """Returns the entry of a mixer, in the variant that the config chooses.

  Args:
    cfg: Config of the model.
    name: Name of the mixer.
  """
  spec = MIXERS[name]
  return spec if spec.variant is None else spec.variant(cfg)


def mixers_that_read(key: str) -> list[str]:
  """Returns the names of the mixers that have a config key, or [] if it belongs to no mixer.

  Args:
    key: Name of a key of the section `model`, without the section.
  """
  return [
    name
    for name, spec in MIXERS.items()
    if spec.keys is not None and key in spec.keys.__dataclass_fields__
  ]


def custom_init(path: str, key: PyTree, shape: tuple[int, ...]) -> PyTree:
  """Returns the initial value of a parameter by the custom function of its mixer.

  Args:
    path: Path of the parameter.
    key: PRNG key of the parameter.
    shape: Shape of the parameter.

  Returns:
    A float32 array, or None if no mixer has a custom function for the parameter.
  """
  for spec in MIXERS.values():
    for pattern, initializer in spec.custom_inits.items():
      if matches(pattern, path):
        return import_object(initializer)(key, shape)
  return None


def uses_fan_in_init(path: str) -> bool:
  """Returns True if a weight always starts with a standard deviation of fan_in ** -0.5.

  Args:
    path: Path of the parameter.
  """
  patterns = itertools.chain(*(spec.fan_in_weights for spec in MIXERS.values()))
  return any(matches(pattern, path) for pattern in patterns)


def _resolve_mixers(cfg: ModelConfig) -> None:
  """Fills in and checks the keys of the mixers that `model.mixer_pattern` names."""
  for name in dict.fromkeys(cfg.mixer_pattern):
    spec = mixer_spec(cfg, name)
    is_causal_decoder = cfg.architecture == 'decoder' and not cfg.prefix_lm
    require(
      cfg,
      is_causal_decoder or not spec.needs_decoder,
      'mixer_pattern',
      "('attention',) unless model.architecture is decoder and model.prefix_lm is False",
    )
    spec.resolve(cfg)


# `ModelConfig.resolve` calls the functions in this list.
PART_RESOLVERS.append(_resolve_mixers)
