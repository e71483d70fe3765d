"""Measured times of a language model: one update, and one forward pass.

A structure is the static part of a config. Trials that differ only in traced numbers have one
structure, and share its compiled programs.
"""

from __future__ import annotations

from collections.abc import Callable
import time

import jax
import numpy as np

from lmhp.training.chunks import ChunkSteps, Hypers
from lmhp.training.programs import Programs
from lmhp.typing import PyTree

N_MEASUREMENTS = 5
"""Number of measurements of a time. The median is used."""

MEASURED_STEPS = 4
"""Number of updates in one measurement of the training speed."""


def measure_step_seconds(programs: Programs, steps: int) -> float:
  """Returns the seconds of one update, for one trial alone on the device.

  Args:
    programs: Compiled programs of the trial's structure.
    steps: Length of the trial, in updates.
  """
  # All measurements train on the data of the first chunk, from step 0. The feed gets the lengths
  # of more chunks, because it may prepare a second chunk before it yields the first.
  state = programs.init(programs.hypers)
  _, data = next(programs.feed(0, iter([MEASURED_STEPS] * 8)))
  n_steps = min(MEASURED_STEPS, steps)

  def train() -> PyTree:
    # The buffers of the old state are donated, so each call continues with the new state.
    nonlocal state
    state, metrics = programs.chunk(
      state, programs.hypers, data, ChunkSteps(n_steps, 0)
    )
    return metrics

  return _median_seconds(train) / n_steps


def measure_latency_seconds(programs: Programs, hypers: Hypers, seq_len: int) -> float:
  """Returns the seconds of the forward pass of one sequence. Nothing else runs on the device.

  Args:
    programs: Compiled programs of the trial's structure.
    hypers: Traced numbers of the trial.
    seq_len: Length of the sequence, in tokens.
  """
  # The batch has one sequence. An encoder, if there is one, reads as many tokens as the decoder.
  tokens_BL = np.zeros((1, seq_len), np.int32)
  params = programs.init(hypers).params
  encoder_tokens_BM = tokens_BL if programs.model.cfg.is_encoder_decoder else None
  forward = jax.jit(programs.model.apply)
  return _median_seconds(
    lambda: forward(params, tokens_BL, encoder_tokens_BM=encoder_tokens_BM)
  )


def _median_seconds(call: Callable[[], PyTree]) -> float:
  """Returns the median time of a call. The first call, which compiles, is not counted."""
  jax.block_until_ready(call())
  seconds = []
  for _ in range(N_MEASUREMENTS):
    start = time.perf_counter()
    jax.block_until_ready(call())
    seconds.append(time.perf_counter() - start)
  return float(np.median(seconds))
