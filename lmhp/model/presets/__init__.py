"""Published architectures, by name.

A preset is a dict of values for the section `model`, {key: value}. The presets of one family
(such as Llama) share values, which are written once. Each size of a family (such as llama-7b) is
one row of a table. Published dropout rates and initial scales belong to a training recipe, so they
are left out. Sources are the paper or model card of each model, and the config.json that is
published with its weights.
"""

from __future__ import annotations

from lmhp.errors import ConfigError, suggest
from lmhp.model.config import ModelConfig
from lmhp.model.presets import encoders, expert_models, gemma, gpt, llama, qwen, small
from lmhp.model.presets.hub_ids import PRESET_OF_ID
from lmhp.model.presets.table import Keys

PRESETS: dict[str, Keys] = {
  **small.PRESETS,
  **gpt.PRESETS,
  **llama.PRESETS,
  **qwen.PRESETS,
  **gemma.PRESETS,
  **expert_models.PRESETS,
  **encoders.PRESETS,
}
"""{name of a preset: its values, {key of the section `model`: value}}."""


def preset(name: str) -> ModelConfig:
  """Returns the config of a published model.

  Args:
    name: One of `PRESETS`, or its id on the Hugging Face hub (`hub_ids.HUB_IDS`), in upper or
      lower case.

  Raises:
    ConfigError: If there is no preset of this name. The message names the nearest one.

  >>> preset('GPT2').d_model
  768
  >>> preset('meta-llama/Llama-3.1-8B').n_layers
  32
  """
  key = str(name).lower()
  key = PRESET_OF_ID.get(key, key)
  if key not in PRESETS:
    # An id of another repository is compared by its name alone.
    key = key.rpartition('/')[2]
    raise ConfigError(
      f'preset: got {name!r}, expected one of the {len(PRESETS)} presets in '
      f'lmhp.model.presets.PRESETS'
      f'{suggest(key, PRESETS)}'
    )
  # The type of a value is declared as `object`. `ModelConfig` checks it at run time.
  return ModelConfig(**PRESETS[key])  # pyright: ignore[reportArgumentType]
