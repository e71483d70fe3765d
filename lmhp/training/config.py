"""What the config says of a run: its length, its loss, its evaluations, its checkpoints.

Apart from the code that reads it, so that resolving a config loads no orbax.
"""

from __future__ import annotations

import dataclasses
import math

from lmhp.data.config import DataConfig
from lmhp.declarations import static, traced
from lmhp.errors import ConfigError
from lmhp.model.config import ModelConfig
from lmhp.optim.config import OptimizerConfig
from lmhp.optim.schedules.config import ScheduleConfig
from lmhp.sections import Section, section, wrong
from lmhp.training.history import LogConfig

MOST_STEPS = 2**31 - 1
LENGTHS = ('steps', 'tokens', 'tokens_per_parameter', 'epochs')


@section('train')
class TrainConfig(Section):
  """How long, on how much at a time, and towards which loss; one of `LENGTHS` says how long."""

  steps: int = static(
    None,
    'updates',
    unit='steps',
    low=1,
    high=MOST_STEPS,
    aliases=('max_iters', 'num_train_steps', 'max_steps'),
    derived=True,
  )
  tokens: float | None = static(None, 'length by tokens seen', unit='tokens', low=1)
  tokens_per_parameter: float | None = static(
    None,
    'length by tokens seen for each parameter',
    low=0.0,
    open_low=True,
    source='arXiv:2203.15556 (Chinchilla: about 20)',
  )
  epochs: float | None = static(
    None, 'length by passes over the training data', low=0.0, open_low=True
  )
  batch_size: int = static(16, 'sequences in an update', unit='sequences', low=1)
  seq_len: int = static(
    None,
    'tokens in a sequence; None is model.max_seq_len',
    unit='tokens',
    low=1,
    derived=True,
  )
  grad_accumulation_steps: int = static(
    1,
    'parts a batch is cut into, one after the other, to save memory',
    low=1,
    aliases=('gradient_accumulation_steps',),
  )
  loss_chunks: int = static(
    1,
    'parts the tokens are cut into for the head and the loss, so that not all logits exist '
    'at once',
    low=1,
  )
  measure_noise_scale: bool = static(
    False,
    'measure the gradient noise scale: cut batches in two parts at least, and log the '
    'norm of their gradients',
    source='arXiv:1812.06162 appendix A.1',
  )
  init_from: str | None = static(
    None,
    'directory of a pretrained model (config.json and safetensors) whose parameters '
    'the run starts from; None draws them',
    aliases=('pretrained', 'init_checkpoint'),
  )
  seed: int = traced(
    0, 'draws initial parameters and dropout', unit='seed', low=0, high=2**32 - 1
  )
  label_smoothing: float = traced(
    0.0,
    'share of each target spread over the vocabulary',
    low=0.0,
    high=1.0,
    open_high=True,
    neutral=0.0,
    source='arXiv:1512.00567 section 7',
  )
  z_loss: float = traced(
    0.0,
    'factor on the squared log of the softmax denominator',
    low=0.0,
    neutral=0.0,
    aliases=('z_loss_weight',),
    source='arXiv:2204.02311 section 5 (PaLM: 1e-4)',
  )

  def resolve(self) -> None:
    """Checks that the length is said once and that the batch can be cut."""
    said = [name for name in LENGTHS if getattr(self, name) is not None]
    if len(said) > 1:
      raise ConfigError(
        f'train.{said[1]}: got {getattr(self, said[1])!r}, expected None, since train.{said[0]} '
        'already says how long'
      )
    if self.batch_size % self.grad_accumulation_steps:
      raise wrong(
        self,
        'grad_accumulation_steps',
        f'a divisor of train.batch_size={self.batch_size}',
      )
    if self.batch_size % self.n_microbatches:
      raise ConfigError(
        f'train.measure_noise_scale: got True, which needs two parts of a batch, expected an even '
        f'train.batch_size and not {self.batch_size}'
      )

  @property
  def n_microbatches(self) -> int:
    """How many parts of a batch have a gradient of their own."""
    return max(self.grad_accumulation_steps, 2 if self.measure_noise_scale else 1)

  def in_steps(self, tokens_per_epoch: int, parameters: int) -> TrainConfig:
    """The same length in steps, rounded up; 1,000 where none is said.

    Args:
      tokens_per_epoch: training tokens of one pass over the data.
      parameters: of the model, embedding included.

    Raises:
      ConfigError: where it is more steps than are numbered.
    """
    tokens = {
      'tokens': self.tokens,
      'tokens_per_parameter': self.tokens_per_parameter
      and self.tokens_per_parameter * parameters,
      'epochs': self.epochs and self.epochs * tokens_per_epoch,
    }
    said = {
      name: n / (self.batch_size * self.seq_len)
      for name, n in tokens.items()
      if n is not None
    }
    for name, steps in said.items():
      if steps > MOST_STEPS:
        raise wrong(
          self, name, f'a length of at most {MOST_STEPS} steps, here {steps:.3g}'
        )
    steps = self.steps or math.ceil(next(iter(said.values()), 1000))
    return dataclasses.replace(
      self, steps=steps, tokens=None, tokens_per_parameter=None, epochs=None
    )


@section('evaluate')
class EvaluateConfig(Section):
  """When the validation split is scored, and how much of it. The last evaluation always takes all of it."""

  every_steps: int | None = static(
    None,
    'evaluate each time this many steps have gone by; None is ten times a run',
    unit='steps',
    low=1,
    aliases=('eval_interval',),
  )
  sequences: int | None = static(
    256,
    'sequences scored during training, evenly spaced; None is all',
    low=1,
    unit='sequences',
  )
  final_sequences: int | None = static(
    None,
    'sequences scored at the end, evenly spaced; None is all',
    low=1,
    unit='sequences',
  )
  batch_size: int | None = static(
    None,
    'sequences at a time; None is the training batch, at least 32',
    low=1,
    unit='sequences',
  )


@section('checkpoint')
class CheckpointConfig(Section):
  """When a run's state is saved, and how many states are kept.

  Whatever is said here, a state is also saved at the last step and on SIGTERM.
  """

  enabled: bool = static(
    True, 'save states at all; False leaves nothing to resume from'
  )
  every_steps: int | None = static(
    None,
    'save each time this many steps have gone by; None is by time alone',
    low=1,
    unit='steps',
    aliases=('save_interval_steps', 'save_steps'),
  )
  every_seconds: float | None = static(
    60.0,
    'save each time this long has gone by; None is by steps alone',
    low=0.0,
    open_low=True,
    unit='seconds',
  )
  keep_last: int = static(
    2,
    'newest states kept: the second is there should the first be damaged',
    low=1,
    aliases=('max_to_keep', 'save_total_limit'),
  )
  keep_best: int = static(1, 'states kept besides for their low eval_loss_nats', low=0)


@dataclasses.dataclass(frozen=True)
class RunConfig:
  """All sections of one run."""

  model: ModelConfig = ModelConfig()
  optimizer: OptimizerConfig = OptimizerConfig()
  schedule: ScheduleConfig = ScheduleConfig()
  data: DataConfig = DataConfig()
  train: TrainConfig = TrainConfig()
  evaluate: EvaluateConfig = EvaluateConfig()
  checkpoint: CheckpointConfig = CheckpointConfig()
  log: LogConfig = LogConfig()
