"""Targets of `lmhp count`: presets, experiment files, published configs and configs in Python."""

from __future__ import annotations

import dataclasses
import os

from etils import epath

from lmhp import config as config_lib, experiment
from lmhp.counting.counted_model import CountedModel
from lmhp.data import dataset as datasets
from lmhp.experiment import BaseConfig
from lmhp.hub.other_formats import other_format
from lmhp.hub.published import read_published
from lmhp.model.config import ModelConfig
from lmhp.model.presets import PRESETS, preset
from lmhp.training.config import RunConfig


def model_of(target: BaseConfig | ModelConfig) -> CountedModel:
  """Returns the model of a target of `count`, with a name to print."""
  if isinstance(target, ModelConfig):
    return CountedModel('model', target)
  if not isinstance(target, (str, os.PathLike)):
    cfg = config_lib.resolve(experiment.base_config(target))
    return CountedModel('config', _with_vocab_size(cfg))

  # A string is the name of a preset, or else the path of an experiment file, or else of a
  # config.json, or else the Hugging Face id of a preset. FILE.py:TEXT passes TEXT to
  # `get_config` of the experiment file.
  name = os.fspath(target)
  if name.lower() in PRESETS:
    return CountedModel(name.lower(), preset(name))
  if name.partition(':')[0].endswith('.py'):
    cfg = config_lib.resolve(experiment.base_config(name))
    return CountedModel(name, _with_vocab_size(cfg))
  path = epath.Path(name)
  if name.endswith('.json') or path.is_dir() or other_format(path):
    return read_published(name)
  # `preset` raises the error for an unknown name.
  return CountedModel(name, preset(name))


def _with_vocab_size(cfg: RunConfig) -> ModelConfig:
  """Returns the config of the model. A missing vocabulary size is taken from the data."""
  if cfg.model.vocab_size is not None:
    return cfg.model
  vocab_size = datasets.load(cfg.data).vocab_size
  return dataclasses.replace(cfg.model, vocab_size=vocab_size)
