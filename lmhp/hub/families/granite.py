"""Granite 3: Llama with constant factors.

The factors multiply the embedding, the attention logits, the outputs of the attention and
feed-forward parts before they are added to the residual stream, and the output logits.

Source: transformers 5, `models/granite`.
"""

from lmhp.hub.families.converters import (
  ConfigKeys,
  ConfigReader,
  FunctionConverter,
  ModelFields,
)
from lmhp.hub.families.family import register_family
from lmhp.hub.families.llama import LLAMA
from lmhp.hub.families.rotary import Rotary
from lmhp.model.config import ModelConfig


def _read_logit_scale(reader: ConfigReader, cfg: ModelConfig) -> ModelFields:
  """Returns the factor on the logits. transformers divides the logits by logits_scaling."""
  scaling = reader.take('logits_scaling', 1.0, float)
  reader.require(scaling > 0, 'logits_scaling', scaling, 'a number above 0')
  return {'logit_scale': 1 / scaling}


def _write_logit_scale(cfg: ModelConfig) -> ConfigKeys:
  return {'logits_scaling': 1 / cfg.logit_scale}


GRANITE = register_family(
  LLAMA.derive(
    'granite',
    keys={
      'embedding_multiplier': ('embedding_scale', 1.0),
      'attention_multiplier': ('attention_scale', 1.0),
      'residual_multiplier': ('residual_scale', 1.0),
    },
    converters=(
      FunctionConverter(_read_logit_scale, _write_logit_scale),
      Rotary(),
    ),
  )
)
