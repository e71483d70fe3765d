"""Sections of a run's config: length, loss, evaluations, checkpoints and logs."""

from __future__ import annotations

import dataclasses
import math

from lmhp.data.config import DataConfig
from lmhp.declarations import static, traced
from lmhp.model.config import ModelConfig
from lmhp.optim.config import OptimizerConfig
from lmhp.optim.schedules.config import ScheduleConfig
from lmhp.sections import Section, require, section, wrong

MAX_STEPS = 2**31 - 1
"""Largest number of steps. Programs count steps in int32."""

DEFAULT_STEPS = 1000
"""Number of steps of a run whose config sets no length."""

LENGTHS = ('steps', 'tokens', 'tokens_per_parameter', 'epochs')
"""Keys of `TrainConfig` that set the length. At most one of them is set."""


@section('train')
class TrainConfig(Section):
  """Length of a run (steps, tokens, tokens_per_parameter or epochs), batches and loss.

  At most one key of `LENGTHS` is set.
  """

  steps: int = static(
    None,
    'number of updates',
    unit='steps',
    low=1,
    high=MAX_STEPS,
    aliases=(
      'max_iters',
      'max_steps',
      'num_train_steps',
      'num_training_steps',
      'total_steps',
    ),
    derived=True,
  )
  tokens: float | None = static(
    None,
    'length in training tokens, in place of steps',
    unit='tokens',
    low=1,
    aliases=('num_tokens', 'train_tokens'),
  )
  tokens_per_parameter: float | None = static(
    None,
    'length in training tokens per parameter, in place of steps',
    low=0.0,
    open_low=True,
    source='arXiv:2203.15556 (Chinchilla: about 20)',
  )
  epochs: float | None = static(
    None,
    'length in passes over the training data, in place of steps',
    low=0.0,
    open_low=True,
    aliases=('num_train_epochs', 'max_epochs', 'num_epochs', 'n_epochs'),
  )
  batch_size: int = static(
    16,
    'sequences in one update, over all devices and microbatches',
    unit='sequences',
    low=1,
    aliases=('train_batch_size', 'global_batch_size', 'global_train_batch_size'),
    converted_aliases={
      'per_device_train_batch_size': (
        'per_device_train_batch_size * devices * gradient_accumulation_steps'
      ),
      'micro_batch_size': 'micro_batch_size * train.grad_accumulation_steps',
    },
  )
  seq_len: int = static(
    None,
    'tokens in a training sequence; None is model.max_seq_len',
    unit='tokens',
    low=1,
    aliases=('sequence_length', 'seq_length', 'max_seq_length'),
    derived=True,
  )
  grad_accumulation_steps: int = static(
    1,
    'number of microbatches of a batch, which are processed one after the other to save '
    'memory',
    low=1,
    aliases=(
      'gradient_accumulation_steps',
      'accumulate_grad_batches',
      'every_k_schedule',
    ),
  )
  loss_chunks: int = static(
    1,
    'number of equal parts into which the tokens of a microbatch are split. Logits and loss '
    'are computed for one part after the other, to save memory',
    low=1,
  )
  measure_noise_scale: bool = static(
    False,
    'log the gradient norm of microbatches, from which the gradient noise scale can be '
    'computed. A batch then has at least two microbatches',
    source='arXiv:1812.06162 appendix A.1',
  )
  init_from: str | None = static(
    None,
    'directory of a pretrained model (config.json and safetensors) whose parameters the '
    'run starts from; None draws them at random',
    aliases=(
      'pretrained',
      'init_checkpoint',
      'model_name_or_path',
      'pretrained_model_name_or_path',
    ),
  )
  seed: int = traced(
    0,
    'seed of the initial parameters and of dropout',
    unit='seed',
    low=0,
    high=2**32 - 1,
    aliases=('random_seed',),
  )
  label_smoothing: float = traced(
    0.0,
    'probability that is taken from each target and spread evenly over the vocabulary',
    low=0.0,
    high=1.0,
    open_high=True,
    neutral=0.0,
    aliases=('label_smoothing_factor',),
    source='arXiv:1512.00567 section 7',
  )
  z_loss: float = traced(
    0.0,
    'coefficient of the z-loss, the squared log of the softmax denominator',
    low=0.0,
    neutral=0.0,
    aliases=('z_loss_weight', 'z_loss_coefficient', 'z_loss_multiplier'),
    source='arXiv:2204.02311 section 5 (PaLM: 1e-4)',
  )

  def resolve(self) -> None:
    """Checks that at most one length is set, and that a batch has equal microbatches."""
    lengths = [name for name in LENGTHS if getattr(self, name) is not None]
    if len(lengths) > 1:
      first, second = lengths[:2]
      raise wrong(self, second, f'None, since train.{first} sets the length')
    require(
      self,
      self.batch_size % self.grad_accumulation_steps == 0,
      'grad_accumulation_steps',
      f'a divisor of train.batch_size={self.batch_size}',
    )
    # If `grad_accumulation_steps` is above 1, this was checked above. If it is 1, the noise scale
    # needs two equal halves of the batch.
    require(
      self,
      self.batch_size % self.n_microbatches == 0,
      'measure_noise_scale',
      f'False, since train.batch_size={self.batch_size} is odd',
    )

  @property
  def n_microbatches(self) -> int:
    """Number of parts of a batch. The gradient of each part is computed separately."""
    return max(self.grad_accumulation_steps, 2 if self.measure_noise_scale else 1)

  def in_steps(self, tokens_per_epoch: int, parameters: int) -> TrainConfig:
    """Returns a config whose length is given in steps, rounded up. The other lengths are None.

    Args:
      tokens_per_epoch: Number of training tokens in one pass over the data.
      parameters: Number of parameters of the model, the embedding included.

    Raises:
      ConfigError: If the length is above `MAX_STEPS`.
    """
    # {key: number of training tokens that a value of 1 stands for}.
    tokens_per_unit = {
      'tokens': 1,
      'tokens_per_parameter': parameters,
      'epochs': tokens_per_epoch,
    }
    steps = self.steps or DEFAULT_STEPS
    for name, n_tokens in tokens_per_unit.items():
      length = getattr(self, name)
      if length is not None:
        exact = length * n_tokens / (self.batch_size * self.seq_len)
        # Check before rounding, because `ceil` fails for an infinite length.
        accepted = f'a length of at most {MAX_STEPS} steps; this one has {exact:.3g}'
        require(self, exact <= MAX_STEPS, name, accepted)
        steps = math.ceil(exact)
    return dataclasses.replace(
      self, steps=steps, tokens=None, tokens_per_parameter=None, epochs=None
    )


@section('evaluate')
class EvaluateConfig(Section):
  """Steps of the evaluations, and number of validation sequences that each one scores.

  The evaluation at the end of the run scores `final_sequences`. All others score `sequences`.
  """

  every_steps: int | None = static(
    None,
    'steps from one evaluation to the next; None is a tenth of the run',
    unit='steps',
    low=1,
    aliases=('eval_interval', 'eval_steps', 'eval_every'),
  )
  sequences: int | None = static(
    256,
    'number of validation sequences in each evaluation during training, evenly spaced over '
    'the split; None is all',
    low=1,
    unit='sequences',
    aliases=('max_eval_samples',),
    converted_aliases={
      'eval_iters': 'eval_iters * evaluate.batch_size',
      'limit_val_batches': 'limit_val_batches * evaluate.batch_size',
    },
  )
  final_sequences: int | None = static(
    None,
    'number of validation sequences in the evaluation at the end, evenly spaced over the '
    'split; None is all',
    low=1,
    unit='sequences',
  )
  batch_size: int | None = static(
    None,
    'validation sequences in one batch; None is train.batch_size, but at least 32',
    low=1,
    unit='sequences',
    aliases=('eval_batch_size',),
    converted_aliases={
      'per_device_eval_batch_size': 'per_device_eval_batch_size * devices'
    },
  )


@section('checkpoint')
class CheckpointConfig(Section):
  """Times of the checkpoints, and the number of checkpoints that are kept.

  If `enabled`, the last step is always saved, and so is the current step on SIGTERM or Ctrl-C.
  """

  enabled: bool = static(
    True,
    'save checkpoints; a run without a checkpoint cannot be resumed',
    aliases=('enable_checkpointing',),
  )
  every_steps: int | None = static(
    None,
    'steps from one checkpoint to the next; None uses every_seconds alone',
    low=1,
    unit='steps',
    aliases=(
      'save_steps',
      'save_interval',
      'save_interval_steps',
      'every_n_train_steps',
    ),
  )
  every_seconds: float | None = static(
    60.0,
    'seconds from one checkpoint to the next; None uses every_steps alone',
    low=0.0,
    open_low=True,
    unit='seconds',
  )
  keep_last: int = static(
    2,
    'number of the newest checkpoints that are kept; if the newest is damaged, a run resumes '
    'from the one before',
    low=1,
    aliases=('max_to_keep', 'save_total_limit', 'keep_last_n'),
  )
  keep_best: int = static(
    1,
    'number of checkpoints with the lowest eval_loss_nats that are also kept',
    low=0,
    aliases=('save_top_k',),
  )


@section('log')
class LogConfig(Section):
  """Logs of the metrics. metrics.jsonl is always written."""

  every_steps: int = static(
    10,
    'steps from one row of metrics.jsonl to the next',
    low=1,
    unit='steps',
    aliases=('log_interval', 'logging_steps', 'log_every_n_steps'),
  )
  tensorboard: bool = static(True, 'also write TensorBoard events')
  wandb_project: str | None = static(
    None, 'Weights & Biases project that also gets the metrics (needs the extra wandb)'
  )


@dataclasses.dataclass(frozen=True)
class RunConfig:
  """All sections of the config of a run."""

  model: ModelConfig = ModelConfig()
  optimizer: OptimizerConfig = OptimizerConfig()
  schedule: ScheduleConfig = ScheduleConfig()
  data: DataConfig = DataConfig()
  train: TrainConfig = TrainConfig()
  evaluate: EvaluateConfig = EvaluateConfig()
  checkpoint: CheckpointConfig = CheckpointConfig()
  log: LogConfig = LogConfig()
