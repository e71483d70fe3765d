"""The compiled programs of one structure, and the data that goes through them."""

from __future__ import annotations

import functools
from typing import Any, Callable, Hashable, Iterable, Iterator

import jax
import numpy as np

from lmhp.data.stream import TrainStream
from lmhp.hypers import split
from lmhp.model.transformer import build
from lmhp.training.compile_cache import Compiled, executable
from lmhp.training.config import RunConfig
from lmhp.training.evaluation import make_score
from lmhp.training.pretrained import pretrained
from lmhp.training.step import (
  Cooldown,
  TrainState,
  make_chunk,
  make_init,
  make_update,
  metric_names,
)

CAPACITY = 256
"""Most steps in a chunk: the length of its metrics."""

STREAMED_BYTES = 1 << 26
"""Most bytes of batches that a streamed chunk holds."""


@functools.lru_cache(maxsize=8)
def _kept(key: Hashable) -> Compiled:
  """What this process has compiled of a structure, by name; of the last eight structures."""
  del key
  return Compiled()


class Programs:
  """Init, chunk of updates, and score, of one structure: compiled once in a process, whatever the numbers.

  Attributes:
    model: the network.
    hypers: the traced numbers of the config.
    capacity: most steps in a chunk.
    stream: where batches come from.

  Args:
    cfg: a completed config; only its structure is compiled in.
    stream: of batches.
    data_sha256: of the stream's tokens, which its places depend on; None shares nothing with other runs.
    present: dotted paths of dropout rates that are traced although 0 here, as `lmhp.hypers.split` takes them.
  """

  def __init__(
    self,
    cfg: RunConfig,
    stream: TrainStream,
    data_sha256: str | None = None,
    present: Iterable[str] = (),
  ):
    structure, self.hypers = split(cfg, present)
    self.model = build(structure.model)
    self.stream, self._batch_size, self._steps = (
      stream,
      cfg.train.batch_size,
      cfg.train.steps,
    )
    key = (
      structure.model,
      structure.optimizer,
      structure.train,
      structure.data,
      data_sha256,
    )
    self._kept = _kept(key) if data_sha256 is not None else Compiled()
    self.init = self._kept.get(
      'init', lambda: jax.jit(make_init(self.model, structure.optimizer))
    )
    if cfg.train.init_from is not None:
      self.init = functools.partial(
        self.init, params=pretrained(cfg.train.init_from, self.model)
      )
    self.score = self._kept.get('score', lambda: jax.jit(make_score(self.model)))
    self._update = make_update(self.model, structure.optimizer, structure.train)
    self._names = metric_names(structure.train)
    bytes_per_step = 12 * cfg.train.batch_size * cfg.train.seq_len
    self.capacity = (
      CAPACITY
      if stream.resident
      else max(1, min(CAPACITY, STREAMED_BYTES // bytes_per_step))
    )
    self._compiled_before = self._kept.seconds

  def abstract_state(self) -> TrainState:
    """The state's shapes."""
    return jax.eval_shape(self.init, self.hypers)

  def chunk(
    self,
    state: TrainState,
    data: Any,
    n_steps: int,
    first_step: int,
    hypers: dict | None = None,
    cooldown: Cooldown = Cooldown(),
  ) -> tuple[TrainState, dict]:
    """Makes `n_steps` updates; returns at once, with arrays that are still being computed. `state` is used up.

    Args:
      state: at `first_step`.
      data: what `feed` gave.
      n_steps: at most `capacity`.
      first_step: updates made before.
      hypers: the traced numbers, where they are not the config's own.
      cooldown: a schedule of its own, for a fork.
    """
    steps = (
      np.int32(n_steps),
      np.int32(first_step),
      Cooldown(*map(np.int32, cooldown)),
    )
    arguments = (state, self.hypers if hypers is None else hypers, data, *steps)
    return self.compile(*arguments)(*arguments)

  def compile(self, *arguments: Any) -> Callable[..., Any]:
    """The chunk compiled for these arguments or their shapes; here and now where it is not yet."""
    # The executable is kept and not the jitted function, which would hold the stream and its tokens.
    return self._kept.get(
      'chunk',
      lambda: executable(
        jax.jit(self.member_chunk(), donate_argnums=0).lower(*arguments)
      ),
    )

  @property
  def compile_seconds(self) -> float:
    """Spent on compiling programs of this structure since these were made."""
    return self._kept.seconds - self._compiled_before

  def member_chunk(self, freeze: bool = False) -> Callable[..., Any]:
    """The chunk of one member as `make_chunk` makes it, to be compiled alone or in a population."""
    return make_chunk(
      self._update, self._take, self._steps, self.capacity, freeze, self._names
    )

  def solo(self, name: str) -> Callable[..., Any]:
    """What one run uses: `init(hypers)`, `chunk(state, hypers, data, n_steps, first_step, cooldown)` or
    `score(state, hypers, (batch, bytes_V))`; 'compile' takes what 'chunk' does, and only compiles it."""
    return {
      'init': self.init,
      'chunk': lambda state, hypers, data, n_steps, *rest: self.chunk(
        state, data, n_steps, rest[0], hypers, rest[1]
      ),
      'score': lambda state, hypers, scored: self.score(state.params, hypers, *scored),
      'compile': self.compile,
    }[name]

  def member_score(self, state: TrainState, hypers: dict, scored: tuple) -> dict:
    """Sums over `(batch, bytes_V)` for each sequence, to be compiled in a population."""
    return make_score(self.model)(state.params, hypers, *scored)

  def compiled(self) -> Compiled:
    """What this process has compiled of the structure."""
    return self._kept

  def _take(self, data: Any, hypers: dict, step: jax.Array, i: jax.Array) -> Any:
    """The batch of a step: gathered from resident tokens, or the chunk's i-th.

    Behind a barrier, or XLA folds weights that it knows to be 1 into the loss: another rounding than of a streamed one.
    """
    if not self.stream.resident:
      return jax.lax.optimization_barrier(jax.tree.map(lambda x: x[i], data))
    first = step.astype(np.uint32) * np.uint32(self._batch_size)
    numbers = first + np.arange(self._batch_size, dtype=np.uint32)
    return jax.lax.optimization_barrier(
      self.stream.gather(data, hypers['data'], numbers)
    )

  def feed(
    self, step: int, lengths: Iterator[int], hypers: dict | None = None
  ) -> Iterator[tuple[int, Any]]:
    """For each chunk from `step` on, its length and its data.

    Args:
      step: updates made so far.
      lengths: steps of each chunk; of resident data asked for one at a time, of streamed data one ahead.
      hypers: the traced numbers, where they are not the config's own.
    """
    if self.stream.resident:
      for n in lengths:
        yield n, self.stream.arrays
      return
    asked = []
    noted = (asked.append(n) or n for n in lengths)
    batches = self.stream.prefetch(
      (hypers or self.hypers)['data'], step * self._batch_size, self._batch_size, noted
    )
    for batch in batches:
      n = asked.pop(0)
      yield (
        n,
        jax.tree.map(
          lambda x: np.concatenate(
            [x, np.zeros((self.capacity - n, *x.shape[1:]), x.dtype)]
          ),
          batch,
        ),
      )
