"""The compiled programs of one structure, and the data that they read.

A structure is the part of a config that is compiled into a program. All other values, the
traced numbers, are arguments of the program.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator
import functools

import jax
import numpy as np

from lmhp.data.stream import TrainStream
from lmhp.errors import ConfigError
from lmhp.files import as_path
from lmhp.hub.config_json import read_json
from lmhp.hub.pretrained import load_pretrained
from lmhp.hypers import split
from lmhp.model.batch import Batch
from lmhp.model.transformer import Model, build
from lmhp.optim.spec import OPTIMIZERS, SCHEDULES
from lmhp.params import walk_arrays
from lmhp.training.chunks import (
  MAX_CHUNK_STEPS,
  ChunkFunction,
  Hypers,
  MemberPrograms,
  ScoreFunction,
)
from lmhp.training.compile_cache import ProgramCache
from lmhp.training.config import RunConfig
from lmhp.training.evaluation import ScoreInputs, make_score
from lmhp.training.step import (
  TrainState,
  make_chunk,
  make_init,
  make_update,
  metric_names,
)
from lmhp.typing import JSON, PyTree

STREAMED_BYTES = 1 << 26
"""Largest size of the batches of a streamed chunk, 64 MiB.

Data is streamed if its tokens are not kept in device memory: the batches are made on the host."""

BYTES_PER_TOKEN = 12
"""Bytes of a token in a streamed batch: 4 each for the token, the target and the weight."""


@functools.lru_cache(maxsize=8)
def _program_cache(key: Hashable) -> ProgramCache:
  """Returns the programs that this process has compiled for a structure.

  The last eight structures are kept.
  """
  del key  # `lru_cache` uses it
  return ProgramCache()


class Programs(MemberPrograms):
  """The programs of one structure, for a single run and for the members of a population.

  A member is one of the runs that a population trains together in one program. This class
  implements `lmhp.training.chunks.MemberPrograms`, which documents its methods.
  Each program is compiled once in a process, and serves all values of the traced numbers.

  Args:
    cfg: Completed config. Only its structure is compiled into the programs.
    stream: Stream of the training batches.
    data_sha256: Digest of the tokens of the stream. A program depends on the number of
      tokens, so two runs share programs only if their digests are equal. If None, the
      programs are not shared with other runs.
    present: Dotted paths of the dropout rates that are above 0 in another member of the
      population. They are traced numbers, even if they are 0 in `cfg`. Any other rate of 0
      removes the dropout from the program. See `lmhp.hypers.split`.

  Attributes:
    model: Network.
    hypers: Traced numbers of the config.
    stream: Stream of the training batches.
  """

  def __init__(
    self,
    cfg: RunConfig,
    stream: TrainStream,
    data_sha256: str | None = None,
    present: Iterable[str] = (),
  ) -> None:
    structure, numbers = split(cfg, present)
    self.hypers: Hypers = numbers
    self.model = build(structure.model)
    self.stream = stream
    self._batch_size = cfg.train.batch_size
    self._total_steps = cfg.train.steps

    # Runs with equal structure, data and registered functions share their programs.
    self.program_cache = ProgramCache()
    if data_sha256 is not None:
      self.program_cache = _program_cache(
        (
          structure.model,
          structure.optimizer,
          structure.train,
          structure.data,
          data_sha256,
          # User code can change these registries: it may replace the optimizer of this name.
          # Every program contains all registered schedules.
          OPTIMIZERS[structure.optimizer.name],
          tuple(SCHEDULES.values()),
        )
      )
    self._seconds_before = self.program_cache.compile_seconds

    optimizer = structure.optimizer
    self._init_function = make_init(self.model, optimizer)
    self._init = self.program_cache.get('init', lambda: jax.jit(self._init_function))
    self._score = self.program_cache.get(
      'score', lambda: jax.jit(make_score(self.model))
    )
    self._update = make_update(self.model, optimizer, structure.train)
    self._metric_names = metric_names(structure.train)
    self._pretrained = None
    if cfg.train.init_from is not None:
      self._pretrained = pretrained_params(cfg.train.init_from, self.model)

    # Streamed batches of a chunk must fit into a bounded part of the memory.
    if not stream.resident:
      bytes_per_step = BYTES_PER_TOKEN * cfg.train.batch_size * cfg.train.seq_len
      self.max_chunk_steps = min(
        MAX_CHUNK_STEPS, max(1, STREAMED_BYTES // bytes_per_step)
      )

  @property
  def compile_seconds(self) -> float:
    """Time spent on compiling programs of the structure since this object was made."""
    return self.program_cache.compile_seconds - self._seconds_before

  # --- programs of a single run -----------------------------------------------------

  def init(self, hypers: Hypers) -> TrainState:
    """Returns the first state of a run. See `MemberPrograms.init`."""
    return self._init(hypers, params=self._pretrained)

  def abstract_state(self, hypers: Hypers) -> TrainState:
    """Returns the shapes and dtypes of a state. See `MemberPrograms.abstract_state`."""
    return jax.eval_shape(self._init_function, hypers, params=self._pretrained)

  def score(
    self, state: TrainState, hypers: Hypers, batch: ScoreInputs
  ) -> dict[str, jax.Array]:
    """Returns the loss and counts of each sequence of a batch, summed over its tokens.

    See `make_score`.
    """
    return self._score(state.params, hypers, batch)

  # --- functions to trace -----------------------------------------------------------

  def chunk_function(self, hold_after_nonfinite: bool = False) -> ChunkFunction:
    """Returns the function of a chunk. See `MemberPrograms.chunk_function`.

    Args:
      hold_after_nonfinite: If True, the first update whose loss is not finite, and all updates
        after it, leave the state unchanged. If False, every update changes the state.
    """
    return make_chunk(
      self._update,
      self._take_batch,
      self._total_steps,
      metric_names=self._metric_names,
      max_chunk_steps=self.max_chunk_steps,
      hold_after_nonfinite=hold_after_nonfinite,
    )

  def score_function(self) -> ScoreFunction:
    """Returns the function of a score. See `MemberPrograms.score_function`."""
    score_params = make_score(self.model)

    def score(
      state: TrainState, hypers: Hypers, batch: ScoreInputs
    ) -> dict[str, jax.Array]:
      return score_params(state.params, hypers, batch)

    return score

  def _take_batch(
    self, data: PyTree, hypers: Hypers, step: jax.Array, i: jax.Array
  ) -> Batch:
    """Returns the batch of a step: gathered from the device's tokens, or streamed batch i.

    The batch passes an optimization barrier. Without it, XLA folds constant weights of 1 into
    the loss, which is then rounded in another way than the loss of a streamed batch.
    """
    if not self.stream.resident:
      return jax.lax.optimization_barrier(jax.tree.map(lambda x: x[i], data))
    first = step.astype(np.uint32) * np.uint32(self._batch_size)
    sequence_numbers = first + np.arange(self._batch_size, dtype=np.uint32)
    batch = self.stream.gather(data, hypers['data'], sequence_numbers)
    return jax.lax.optimization_barrier(batch)

  # --- data -------------------------------------------------------------------------

  def feed(
    self, first_step: int, lengths: Iterator[int], hypers: Hypers | None = None
  ) -> Iterator[tuple[int, PyTree]]:
    """Yields the number of steps and the data of each chunk.

    The data is the tokens in device memory, or the streamed batches of the chunk.

    Args:
      first_step: Number of updates made before the first chunk.
      lengths: Number of steps of each chunk. For streamed data, the next length is taken
        before a chunk is used, because a thread prepares the batches ahead.
      hypers: Traced numbers of the run. None means those of the config.
    """
    if self.stream.resident:
      for n_steps in lengths:
        yield n_steps, self.stream.arrays
      return

    # Pad the batches to the longest chunk, so that all chunks share a program.
    def pad(x: np.ndarray) -> np.ndarray:
      padding = np.zeros((self.max_chunk_steps - len(x), *x.shape[1:]), x.dtype)
      return np.concatenate([x, padding])

    numbers = self.hypers if hypers is None else hypers
    first_sequence = first_step * self._batch_size
    for batches in self.stream.prefetch(
      numbers['data'], first_sequence, self._batch_size, lengths
    ):
      yield len(batches.tokens), jax.tree.map(pad, batches)


def pretrained_params(path: str, model: Model) -> PyTree:
  """Returns the parameters of a pretrained model, for the network of a run.

  Args:
    path: Path of the directory of the model, in the format of Hugging Face.
    model: Network of the run. It may differ from the pretrained one in properties that change
      the shape of no parameter, such as dropout, context length and precision.

  Returns:
    A nested dict of numpy arrays, in the precision in which they are stored.

  Raises:
    ConfigError: If the directory cannot be read, or if a parameter has another shape.
  """
  try:
    pretrained_model, params, _ = load_pretrained(path)
  except ConfigError as error:
    raise ConfigError(f'train.init_from: {error}') from None
  # Compare the shapes of all parameters by path.
  expected = {name: x.shape for name, x in walk_arrays(model.shapes)}
  stored = {name: x.shape for name, x in walk_arrays(pretrained_model.shapes)}
  for name in sorted(expected.keys() | stored.keys()):
    if expected.get(name) != stored.get(name):
      raise ConfigError(
        f'train.init_from: {path}: {name}: got {stored.get(name, "none")}, expected '
        f'{expected.get(name, "none")}, the shape in the model of the config'
      )
  return params


def pretrained_config(path: str) -> dict[str, JSON]:
  """Returns the `config.json` of the Hugging Face directory that a run starts from.

  Args:
    path: Path of the directory.

  Raises:
    ConfigError: If the file cannot be read.
  """
  try:
    return read_json(as_path(path) / 'config.json')
  except ConfigError as error:
    raise ConfigError(f'train.init_from: {error}') from None
