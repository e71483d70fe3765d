"""Finds a config.json for a model that lmhp trained.

A family is a model type of the Hugging Face library `transformers`, such as 'llama'.
"""

from __future__ import annotations

from collections.abc import Mapping

from lmhp import hypers
from lmhp.errors import ConfigError
from lmhp.hub.config_json import model_config
from lmhp.hub.families import FAMILIES
from lmhp.hub.families.converters import ConfigKeys
from lmhp.hub.families.family import model_types
from lmhp.model.config import ModelConfig
from lmhp.typing import JSON

FIELDS_WITHOUT_EFFECT = (
  'init',
  'init_scale',
  'dtype',
  'scan_layers',
  'remat',
  'embedding_dropout',
  'attention_dropout',
  'residual_dropout',
  'load_balance_loss',
  'router_z_loss',
  'router_correction_rate',
  'expert_backend',
)
"""Fields of `ModelConfig` that do not change what a trained model computes.

They concern initialization, training or execution.
"""

BIAS_FIELDS = (
  'norm_bias',
  'qkv_bias',
  'attention_output_bias',
  'feed_forward_bias',
  'head_bias',
  'head_transform_bias',
  'router_bias',
)
"""Fields of `ModelConfig` that add biases. A bias of zero changes nothing."""

PREFERRED_TYPES = ('llama', 'gpt2', 'qwen2', 'qwen3', 'mistral', 'gpt_neox')
"""Model types that are tried first, because most tools read them."""

_MAX_LISTED = 4
"""Largest number of differences in an error message."""


def export_config(
  cfg: ModelConfig, pretrained: Mapping[str, JSON] | None = None
) -> ConfigKeys:
  """Returns a config.json from which `model_config` reads the same model.

  If no model type has exactly the parameters of the model, the config may have biases that the
  model lacks. `lmhp.hub.conversion.with_zero_biases` adds them to the parameters.

  Args:
    cfg: The model.
    pretrained: The config.json of the checkpoint from which the model was trained. It is
      returned if it still describes the model. None if there was no checkpoint.

  Raises:
    ConfigError: If no model type of the Hugging Face library `transformers` can express the
      model. The message has the nearest model type and the differences.
  """
  # Keep the file of the checkpoint if it still describes the model. Otherwise collect, for the
  # error message, the differences from this file and from the file of each model type.
  differences_by_name: dict[str, list[str]] = {}
  if pretrained is not None:
    differing = differences(cfg, pretrained)
    if not differing:
      return dict(pretrained)
    differences_by_name['the config.json of the checkpoint'] = differing

  # Take the first model type whose config.json reads back as the model, at first without and
  # then with further biases.
  types = dict.fromkeys((*PREFERRED_TYPES, *model_types()))
  for adds_biases in (False, True):
    for model_type in types:
      written = FAMILIES[model_type].write_config(cfg)
      if written is None:
        continue
      differing = differences(cfg, written, adds_biases=adds_biases)
      if not differing:
        return written
      differences_by_name[model_type] = differing

  nearest = min(differences_by_name, key=lambda name: len(differences_by_name[name]))
  listed = ', '.join(differences_by_name[nearest][:_MAX_LISTED])
  raise ConfigError(
    f'export: no model type of Hugging Face transformers can express this model; the nearest '
    f'is {nearest} (got: value of this model, expected: value of {nearest}): {listed}'
  )


def differences(
  cfg: ModelConfig, config: Mapping[str, JSON], *, adds_biases: bool = False
) -> list[str]:
  """Compares a model with the model of a config.json.

  Args:
    cfg: The model.
    config: JSON object.
    adds_biases: If True, biases that only the other model has are no difference, since they
      can be zero.

  Returns:
    `PATH: got X, expected Y` for each field in which the models differ. X is the value of `cfg`,
    and Y that of `config`. Empty if both models compute the same function.
  """
  try:
    other = model_config(config, 'config')
  except ConfigError as error:
    # `export_config` takes the config with the fewest differences as the nearest. A config that
    # cannot be read has `_MAX_LISTED` + 1 equal texts, so that a readable one with at most
    # `_MAX_LISTED` differences is nearer.
    return [str(error).removeprefix('config: ')] * (_MAX_LISTED + 1)

  # Fields that do not change the function of the model may differ.
  texts = []
  for path, (value, other_value) in hypers.differences(cfg, other).items():
    field = path.removeprefix('model.')
    is_added_bias = adds_biases and field in BIAS_FIELDS and not value
    if field not in FIELDS_WITHOUT_EFFECT and not is_added_bias:
      texts.append(f'{path}: got {value!r}, expected {other_value!r}')
  return texts
