"""The experiment file of a pretrained model: the fields that its config.json gives, and where fine-tuning begins."""

from __future__ import annotations

import dataclasses

from lmhp.model.config import ModelConfig

_TEXT = '''"""{name}, fine-tuned: what learning rate, and for how long?

Written by `lmhp import`. Data, steps and rate are where to begin; `lmhp train --help_config` lists every key.
"""

import lmhp


def get_config():
  config = lmhp.default_config()
{model}
  config.train.init_from = {path!r}
  config.data.tokenizer = {tokenizer!r}
  config.train.seq_len = {seq_len}
  config.train.steps = 200
  config.train.batch_size = 8
  config.optimizer.learning_rate = 2e-5  # pretrained parameters move less than drawn ones
  return config
'''
START_LENGTH = 512
"""Tokens in a sequence where fine-tuning begins: what a small machine holds of a context of thousands."""


def experiment_text(name: str, path: str, cfg: ModelConfig, has_tokenizer: bool) -> str:
  """An experiment file that starts from a directory's parameters.

  Args:
    name: of the model, for the card.
    path: of the directory.
    cfg: as the directory's config.json has it.
    has_tokenizer: whether it holds a tokenizer.json; else tokens are bytes, which the vocabulary may not mean.
  """
  default = ModelConfig()
  skipped = ('dtype', 'scan_layers', 'remat', 'init', 'init_scale')
  fields = {
    f.name: getattr(cfg, f.name)
    for f in dataclasses.fields(cfg)
    if f.name not in skipped
  }
  lines = [
    f'  config.model.{field} = {value!r}'
    for field, value in fields.items()
    if value != getattr(default, field)
  ]
  tokenizer = f'{path}/tokenizer.json' if has_tokenizer else 'byte'
  word = name.replace('\\', '').replace('"', '')  # it stands in a docstring
  return _TEXT.format(
    name=word,
    model='\n'.join(lines),
    path=path,
    tokenizer=tokenizer,
    seq_len=min(cfg.max_seq_len, START_LENGTH),
  )
