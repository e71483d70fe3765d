"""Small real runs for the tests: their text, a model of a few thousand parameters, a fast jit."""

import json
import pathlib
import random
import tempfile

import jax
import pytest

import lmhp
from lmhp.training import chunks, programs


class QuickJax:
  """The module jax with another `jit`, for one module."""

  def __init__(self, jit):
    self.jit = jit

  def __getattr__(self, name):
    return getattr(jax, name)


def words(n, seed=0):
  """Returns a text of words from a small vocabulary."""
  rng = random.Random(seed)
  return ' '.join(
    rng.choice(('a', 'tree', 'grows', 'where', 'none', 'was', 'sown', 'before'))
    for _ in range(n)
  )


@pytest.fixture(scope='session')
def text(tmp_path_factory):
  """A text file of a few thousand characters."""
  path = tmp_path_factory.mktemp('text') / 'words.txt'
  path.write_text(words(1500))
  return path


@pytest.fixture
def small(text, tmp_path, monkeypatch, jit):
  """`small(**{'section.key': value})` returns the ConfigDict of a run of about a second."""
  monkeypatch.setattr(programs, 'jax', QuickJax(jit))
  monkeypatch.setattr(chunks, 'jax', QuickJax(jit))
  monkeypatch.setattr(
    tempfile, 'tempdir', str(tmp_path)
  )  # where runs without a workdir go

  def make(**values):
    config = lmhp.default_config()
    config.data.path = (str(text),)
    config.data.tokenizer = 'char'
    config.data.cache_dir = str(text.parent / 'cache')
    (
      config.model.d_model,
      config.model.n_heads,
      config.model.n_layers,
      config.model.max_seq_len,
    ) = 12, 2, 2, 8
    config.model.dtype = 'float32'
    config.train.steps, config.train.batch_size = 24, 3
    config.evaluate.sequences = 5
    config.log.every_steps, config.log.tensorboard = 1, False
    for path, value in values.items():
      section, _, key = path.partition('.')
      config[section][key] = value
    return config

  return make


def rows(workdir):
  """Returns the rows of metrics.jsonl without their times."""
  lines = (pathlib.Path(workdir) / 'metrics.jsonl').read_text().splitlines()
  return [
    {k: v for k, v in json.loads(line).items() if k != 'seconds'} for line in lines
  ]


def bits(params):
  """Returns the bytes of each parameter, by path."""
  return {
    jax.tree_util.keystr(path): (x.dtype, x.shape, jax.device_get(x).tobytes())
    for path, x in jax.tree.leaves_with_path(params)
  }
