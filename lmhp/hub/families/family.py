"""What a family is: one table from the keys of its config.json to the fields of `ModelConfig`.

A family adds a file here with such a table; see `llama.py`, the plainest. What a table cannot say (rotary scaling,
windows, a head count that hangs on a flag) is a *part*: a function of the entries and the sizes read so far, that gives
more fields; one with a `write` gives keys back.
"""

from __future__ import annotations

import dataclasses
import json
import reprlib
from typing import Any, Callable, Mapping

from lmhp.errors import ConfigError, suggest
from lmhp.model.config import ModelConfig

ACTIVATIONS = {
  'relu': 'relu',
  'sigmoid': 'sigmoid',
  'tanh': 'tanh',
  'quick_gelu': 'quick_gelu',
  'relu2': 'relu_squared',
  'silu': 'silu',
  'swish': 'silu',
  'linear': 'identity',
  'gelu': 'gelu',
  'gelu_python': 'gelu',
  'gelu_new': 'gelu_tanh',
  'gelu_fast': 'gelu_tanh',
  'gelu_accurate': 'gelu_tanh',
  'gelu_pytorch_tanh': 'gelu_tanh',
  'gelu_python_tanh': 'gelu_tanh',
}  # transformers' names to ours; each pair is one function, gelu_tanh's five differ in how they are written

_KINDS = {
  int: 'a whole number',
  float: 'a number',
  bool: 'true or false',
  str: 'a word',
  list: 'a list',
  dict: 'an object',
  None: 'null',
}

# Keys of any file that say how a checkpoint is stored, labelled, tokenized or sampled, not what it computes.
UNUSED = frozenset(
  """
  model_type architectures auto_map transformers_version _name_or_path name_or_path _commit_hash torch_dtype dtype
  use_cache bos_token_id eos_token_id pad_token_id unk_token_id sep_token_id mask_token_id decoder_start_token_id
  forced_bos_token_id forced_eos_token_id begin_suppress_tokens suppress_tokens bad_words_ids prefix tokenizer_class
  tokenizer_type id2label label2id num_labels problem_type finetuning_task task_specific_params classifier_dropout
  output_hidden_states output_attentions output_scores return_dict return_dict_in_generate torchscript use_bfloat16
  tf_legacy_loss gradient_checkpointing chunk_size_feed_forward is_decoder cross_attention_hidden_size
  tie_encoder_decoder encoder_no_repeat_ngram_size diversity_penalty do_sample early_stopping length_penalty
  max_length min_length no_repeat_ngram_size num_beam_groups num_beams num_return_sequences remove_invalid_values
  repetition_penalty temperature top_k top_p typical_p exponential_decay_length_penalty cache_implementation
  attn_implementation _attn_implementation _attn_implementation_autoset _attn_implementation_internal
  _experts_implementation_internal _flash_attn_2_enabled pretraining_tp tie_last_hidden_states unsloth_fixed
  unsloth_version
""".split()
)
NEUTRAL = {
  'is_encoder_decoder': (False,),
  'add_cross_attention': (False,),
  'pruned_heads': ({}, None),
}  # in any file

REQUIRED = object()  # stands as the default of a key that has none


class Entries:
  """The entries of one JSON object, taken one by one, so that what nobody took is known.

  Attributes:
    source: the file, as errors name it.
    prefix: dotted path of the object within the file, ending in a dot, or ''.
  """

  def __init__(self, config: Mapping[str, Any], source: str, prefix: str = ''):
    self._left, self._known = dict(config), []
    self.source, self.prefix = source, prefix

  def take(self, key: str, default: Any, *kinds: type | None) -> Any:
    """The value of a key, or transformers' default where the key is absent.

    Args:
      key: its name.
      default: where it is absent; `REQUIRED` where transformers has none either.
      *kinds: the types that it may have, None for null (float takes whole numbers too); none leaves the check to
        `ModelConfig`.

    Raises:
      ConfigError: where it has another type, or is absent and has no default.
    """
    self._known.append(key)
    value = self._left.pop(key, default)
    if value is REQUIRED:
      raise ConfigError(
        f'{self.source}: {self.prefix}{key}: missing, expected {_KINDS[kinds[0]]}'
      )
    if kinds and not any(_is_a(value, kind) for kind in kinds):
      raise self.wrong(key, value, ' or '.join(_KINDS[kind] for kind in kinds))
    return value

  def inner(self, key: str) -> Entries | None:
    """A nested object's entries, None where it is absent, null or empty."""
    value = self.take(key, None, dict, None)
    return Entries(value, self.source, f'{self.prefix}{key}.') if value else None

  def holds(self, *keys: str) -> bool:
    """Whether one of the keys is there and not yet taken."""
    return any(key in self._left for key in keys)

  def copy(self) -> Entries:
    """The same entries, to be taken again."""
    return Entries(self._left, self.source, self.prefix)

  def rename(self, alias: str, key: str) -> None:
    """Reads `alias` as `key`: some classes of transformers go by two names."""
    if alias in self._left:
      value = self._left.pop(alias)
      if key in self._left and self._left[key] != value:
        raise self.wrong(
          alias, value, f'the same as {self.prefix}{key}={self._left[key]!r}'
        )
      self._left[key] = value

  def drop(self, keys: Any) -> None:
    """Passes over keys that do not change the computation."""
    for key in keys:
      self._left.pop(key, None)

  def close(self) -> None:
    """Raises on the first key that nothing read: it may change the computation."""
    for key in self._left:
      raise ConfigError(
        f'{self.source}: {self.prefix}{key}: a key that lmhp does not know for this model, so it '
        f'cannot tell what it changes{suggest(key, self._known)}'
      )

  def wrong(self, key: str, value: Any, expected: str) -> ConfigError:
    """The error for a value: file, dotted key, what came, what is accepted."""
    got = (
      reprlib.repr(value)
      if isinstance(value, (list, dict, tuple))
      else json.dumps(value, default=repr)
    )
    got = got if len(got) <= 80 else got[:77] + '...'
    return ConfigError(
      f'{self.source}: {self.prefix}{key}: got {got}, expected {expected}'
    )


def _is_a(value: Any, kind: type | None) -> bool:
  if value is None or isinstance(value, bool):
    return kind is (None if value is None else bool)
  return kind is not None and isinstance(value, (int, float) if kind is float else kind)


Part = Callable[[Entries, ModelConfig], dict[str, Any]]


@dataclasses.dataclass(frozen=True)
class TwoWay:
  """A part that can write what it reads.

  Attributes:
    read: gives fields of `ModelConfig` from the entries and the sizes read so far.
    write: gives keys of a config.json from a `ModelConfig`.
  """

  read: Part
  write: Callable[[ModelConfig], dict[str, Any]]

  def __call__(self, entries: Entries, cfg: ModelConfig) -> dict[str, Any]:
    return self.read(entries, cfg)


@dataclasses.dataclass(frozen=True, kw_only=True)
class CheckpointFamily:
  """How the config.json of one model_type is read.

  Attributes:
    model_type: its name in config.json.
    always: fields of `ModelConfig` that the architecture fixes.
    keys: key -> (the fields it sets, separated by blanks; transformers' default where the key is absent).
    only: key -> the values that `ModelConfig` can express (transformers' default among them). Any other is an error.
    unused: keys of published files that do not change the computation.
    aliases: second name -> key.
    parts: what the table cannot say, in order; each sees the fields of those before it.
    inside: name of the nested object that describes the language model, '' where it is the file itself.
    layers: name of a layer in a checkpoint, with {i} for its number.
    names: our modules -> a checkpoint's, a leading dot standing for `layers`; several of ours, separated by blanks, are
      one of its tensors. Modules that a model has not are passed over, those named twice go by the first. A function of
      the `ModelConfig` where one name stands for different modules.
      An encoder-decoder's begin with its stack (encoder/attention/query) where the two differ.
      A whole path of ours (output/bias) stands for one tensor's whole name.
    copies: names under which a checkpoint may repeat a tensor -> the tensor's.
    passed: pattern of tensors that the language model has no use for, as poolers.
    head_by_weights: the head is tied where a checkpoint has none, whatever config.json says.
    grouped: query, key and value, where they are one tensor, stand together for each key head; else after each other.
    transposed: matrices of layers are stored (inputs, outputs).
    interleaved: where a tensor holds gate and up of all experts, their columns alternate.
  """

  model_type: str
  always: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  keys: Mapping[str, tuple[str, Any]] = dataclasses.field(default_factory=dict)
  only: Mapping[str, tuple] = dataclasses.field(default_factory=dict)
  unused: tuple[str, ...] = ()
  aliases: Mapping[str, str] = dataclasses.field(default_factory=dict)
  parts: tuple[Part, ...] = ()
  inside: str = ''
  layers: str = ''
  names: Mapping[str, str] | Callable[[ModelConfig], Mapping[str, str]] = (
    dataclasses.field(default_factory=dict)
  )
  copies: Mapping[str, str] = dataclasses.field(default_factory=dict)
  passed: str = ''
  head_by_weights: bool = False
  grouped: bool = False
  transposed: bool = False
  interleaved: bool = False

  def but(
    self,
    model_type: str,
    *,
    defaults: Mapping[str, Any] | None = None,
    without: tuple[str, ...] = (),
    **changes,
  ) -> CheckpointFamily:
    """A family like this one: tables are merged (new names stand first), `parts` replaced.

    Args:
      model_type: its name.
      defaults: other defaults of keys that this family has.
      without: keys of this family that the new one lacks.
      **changes: attributes of `Family`.
    """
    keys = {key: row for key, row in self.keys.items() if key not in without}
    keys |= {key: (keys[key][0], default) for key, default in (defaults or {}).items()}
    changes['keys'] = keys | changes.get('keys', {})
    changes['only'] = {
      k: v for k, v in self.only.items() if k not in without
    } | changes.get('only', {})
    changes['always'] = self.always | changes.get('always', {})
    if isinstance(changes.get('names'), dict):
      changes['names'] = changes['names'] | {
        ours: n for ours, n in self.names.items() if ours not in changes['names']
      }
    return dataclasses.replace(self, model_type=model_type, **changes)

  def fields(self, entries: Entries) -> tuple[dict[str, Any], dict[str, str]]:
    """The fields that the table alone gives, and for each the key that it came from."""
    for alias, key in self.aliases.items():
      entries.rename(alias, key)
    fields, origin = dict(self.always), {}
    for key, (names, default) in self.keys.items():
      value = entries.take(key, default)
      for name in names.split():
        fields[name], origin[name] = _converted(entries, key, name, value), key
    return fields, origin

  def written(self, cfg: ModelConfig) -> dict[str, Any] | None:
    """A config.json that may read back as a model: what the table says, and the parts that can write; None where the
    model is described inside another object."""
    if self.inside:
      return None
    config: dict[str, Any] = {'model_type': self.model_type}
    for key, (names, default) in self.keys.items():
      config[key] = _written(names.split()[0], getattr(cfg, names.split()[0]), default)
    for part in self.parts:
      config |= getattr(part, 'write', lambda cfg: {})(cfg)
    return config

  def close(self, entries: Entries) -> None:
    """Passes over what does not change the computation; whatever is left is an error."""
    for key, accepted in (NEUTRAL | self.only).items():
      value = entries.take(key, accepted[0])
      if not any(
        value == a and isinstance(value, bool) == isinstance(a, bool) for a in accepted
      ):
        words = ' or '.join(json.dumps(a) for a in accepted)
        raise entries.wrong(
          key, value, f'{words}: lmhp has no such variant of {self.model_type}'
        )
    entries.drop(UNUSED.union(self.unused))
    entries.close()


def _converted(entries: Entries, key: str, field: str, value: Any) -> Any:
  """A value as `ModelConfig` has it: our word for an activation, the initial scale in units of 0.02."""
  if isinstance(value, (list, dict)) or (isinstance(value, str) and len(value) > 80):
    raise entries.wrong(key, value, 'a single value')
  if field in ('activation', 'head_activation'):
    if not isinstance(value, str) or value not in ACTIVATIONS:
      raise entries.wrong(
        key,
        value,
        'one of ' + ', '.join(ACTIVATIONS) + suggest(str(value), ACTIVATIONS),
      )
    return ACTIVATIONS[value]
  if field == 'init_scale':
    if not _is_a(value, float) or value < 0:
      raise entries.wrong(key, value, 'a number of at least 0')
    return value / 0.02
  return value


def _written(field: str, value: Any, default: Any) -> Any:
  """The inverse of `_converted`; of several words for one activation the family's own, where it is that."""
  if field in ('activation', 'head_activation'):
    return (
      default
      if ACTIVATIONS.get(default) == value
      else next(w for w, ours in ACTIVATIONS.items() if ours == value)
    )
  if field == 'init_scale':
    return float(value) * 0.02
  return list(value) if isinstance(value, tuple) else value
