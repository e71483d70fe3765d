"""Granite 3: Llama with a factor on the embedding, the attention, the residual stream and the logits."""

from typing import Any

from lmhp.hub.families.family import Entries, TwoWay
from lmhp.hub.families.llama import LLAMA
from lmhp.hub.families.rotary import Rotary
from lmhp.model.config import ModelConfig


def _logit_scale(entries: Entries, cfg: ModelConfig) -> dict[str, Any]:
  """Logits are divided by logits_scaling."""
  scaling = entries.take('logits_scaling', 1.0, float)
  if scaling <= 0:
    raise entries.wrong('logits_scaling', scaling, 'a number above 0')
  return {'logit_scale': 1 / scaling}


GRANITE = LLAMA.but(
  'granite',
  keys={
    'embedding_multiplier': ('embedding_scale', 1.0),
    'attention_multiplier': ('attention_scale', 1.0),
    'residual_multiplier': ('residual_scale', 1.0),
  },
  parts=(
    TwoWay(_logit_scale, lambda cfg: {'logits_scaling': 1 / cfg.logit_scale}),
    Rotary(),
  ),
)
