"""Complete configs of trials, with their datasets and FLOPs."""

from __future__ import annotations

import hashlib
import json

from lmhp import config as config_lib
from lmhp.config import ConfigDict
from lmhp.counting.flops import encoder_decoder_flops, flops_per_token
from lmhp.data import dataset as datasets
from lmhp.data.config import DataConfig
from lmhp.data.spans import SpanCorruption
from lmhp.data.stream import objective_of
from lmhp.hypers import split
from lmhp.sweeping.tasks.task import Overrides
from lmhp.training.config import RunConfig


class ModelConfigs:
  """Completes the configs of trials.

  Args:
    config: Base config, not resolved, as ConfigDict, RunConfig or mapping of mappings.
    dtype: Precision that "auto" stands for.

  Attributes:
    base: The completed base config.
    dtype: Precision that "auto" stands for.
  """

  def __init__(self, config: object, dtype: str):
    self.dtype = dtype
    self._config = config_lib.to_config_dict(config)
    self._datasets: dict[DataConfig, datasets.Dataset] = {}
    self.base = self.complete({})

  def override(self, overrides: Overrides) -> ConfigDict:
    """Returns the base config with other values, not completed."""
    config = config_lib.to_config_dict(self._config)
    return config_lib.override(config, overrides)

  def complete(self, overrides: Overrides) -> RunConfig:
    """Returns the complete config of a trial.

    Raises:
      ConfigError: If no config can have these values.
    """
    cfg = config_lib.resolve(self.override(overrides))
    dataset = self.dataset(cfg)
    return config_lib.complete(
      cfg,
      vocab_size=dataset.vocab_size,
      tokens_per_epoch=sum(len(tokens) for tokens in dataset.train),
      dtype=self.dtype,
    )

  def dataset(self, cfg: RunConfig) -> datasets.Dataset:
    """Returns the dataset of a config. Configs that share it load it once."""
    key = split(cfg.data)[0]
    if key not in self._datasets:
      self._datasets[key] = datasets.load(cfg.data)
    return self._datasets[key]

  def flops_per_token(self, cfg: RunConfig) -> float:
    """Returns the training FLOPs of one token of the text.

    An encoder-decoder makes an encoder and a decoder sequence of each sequence of the text.
    """
    if not cfg.model.is_encoder_decoder:
      return float(flops_per_token(cfg.model, cfg.train.seq_len, causal=True).train)
    spans = objective_of(self.dataset(cfg), cfg.train.seq_len, cfg.data)
    # The config of an encoder-decoder has no other objective.
    assert isinstance(spans, SpanCorruption)
    forward_flops = encoder_decoder_flops(
      cfg.model, spans.target_len, spans.encoder_len, causal=True
    )
    return 3.0 * forward_flops / cfg.train.seq_len


def config_digest(cfg: RunConfig) -> str:
  """Returns a short digest of a complete config."""
  return short_digest(json.dumps(config_lib.to_json(cfg), sort_keys=True))


def short_digest(text: str) -> str:
  """Returns a short digest of a text, which is the same in every process."""
  return hashlib.sha256(text.encode()).hexdigest()[:12]
