"""Fixtures of the tests of Hugging Face checkpoints."""

import dataclasses
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from small_checkpoints import CONFIGS

from lmhp.hub.config_json import model_config
from lmhp.hub.pretrained import save_pretrained
from lmhp.model.transformer import build


@dataclasses.dataclass(frozen=True)
class SavedModel:
  """A small llama that lmhp has saved.

  Attributes:
    path: Directory.
    config: Content of config.json.
    params: Nested dict of arrays.
  """

  path: Path
  config: dict[str, Any]
  params: dict[str, Any]


def save_llama(path, seed, **changes):
  """Saves a llama with random parameters. `changes` are keys of its config.json."""
  config = CONFIGS['llama'][0] | {'model_type': 'llama'} | changes
  model = build(dataclasses.replace(model_config(config), dtype='float32'))
  params = model.init(jax.random.key(seed), {'init_scale': 1.0})
  params = jax.tree.map(np.asarray, params)
  save_pretrained(path, config, params)
  return SavedModel(path, config, params)


@pytest.fixture
def saved(tmp_path):
  """A small llama."""
  return save_llama(tmp_path / 'm', seed=0)


@pytest.fixture
def tiny_checkpoint(tmp_path, monkeypatch):
  """A small llama that reads bytes. The working directory is the one that contains it."""
  model = save_llama(tmp_path / 'tiny', seed=7, vocab_size=257)
  monkeypatch.chdir(tmp_path)
  return model
