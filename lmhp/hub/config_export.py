"""Which config.json a model has: the one that it came with, or that of the first family that expresses it exactly."""

from __future__ import annotations

import dataclasses
from typing import Any, Mapping

from lmhp.errors import ConfigError
from lmhp.hub.config_json import model_config
from lmhp.hub.families import FAMILIES
from lmhp.model.config import ModelConfig

NOT_COMPUTED = (
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
"""Fields that say how a model was trained or is run, not what it computes."""
FIRST = ('llama', 'gpt2', 'qwen2', 'qwen3', 'mistral', 'gpt_neox')
"""Families that are tried before the others: the most widely read."""


def config_of(
  cfg: ModelConfig, pretrained: Mapping[str, Any] | None = None
) -> dict[str, Any]:
  """A config.json that reads back as the model.

  Args:
    cfg: the model.
    pretrained: the config.json that its parameters came with.

  Raises:
    ConfigError: where no family of transformers expresses it; names the nearest and what that lacks.
  """
  tried: dict[str, list[str]] = {}
  if pretrained is not None:
    tried['the config.json that it started from'] = found = differences(cfg, pretrained)
    if not found:
      return dict(pretrained)
  for name in (*FIRST, *(name for name in FAMILIES if name not in FIRST)):
    written = FAMILIES[name].written(cfg)
    if written is None:
      continue
    tried[name] = found = differences(cfg, written)
    if not found:
      return written
  nearest = min(tried, key=lambda name: len(tried[name]))
  words = '; '.join(tried[nearest][:4])
  raise ConfigError(
    f'export: no family of transformers computes this model; the nearest, {nearest}, differs: {words}'
  )


def differences(cfg: ModelConfig, config: Mapping[str, Any]) -> list[str]:
  """In what a config.json read back differs from a model, in words; empty where it computes the same."""
  try:
    back = model_config(dict(config), 'config')
  except ConfigError as error:
    return [
      str(error).removeprefix('config: ')
    ] * 5  # it cannot be read at all: farther than any that can
  names = (f.name for f in dataclasses.fields(cfg) if f.name not in NOT_COMPUTED)
  return [
    f'model.{name} is {getattr(cfg, name)!r}, there {getattr(back, name)!r}'
    for name in names
    if getattr(cfg, name) != getattr(back, name)
  ]
