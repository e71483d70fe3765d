"""The command `lmhp doctor`."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
import dataclasses
import json
import os
import tempfile
import time
from typing import TYPE_CHECKING

from lmhp.commands.flags import CommandParser
from lmhp.errors import ConfigError

if TYPE_CHECKING:
  from lmhp.training.manifest import DeviceDescription

MIB = 2**20
SELF_TEST_STEPS = 40
SMALLEST_GAIN_NATS = 0.5
"""Decrease of the training loss, from first to last step, that the self-test needs to pass."""


@dataclasses.dataclass(frozen=True)
class Cache:
  """A cache on the disk.

  Attributes:
    path: Directory of the cache. None if the cache is off.
    bytes: Size of all files of the cache.
  """

  path: str | None
  bytes: int


@dataclasses.dataclass(frozen=True)
class SelfTest:
  """Result of the self-test: a small model, trained twice.

  Attributes:
    passed: True if `repeatable` is True and the loss fell by more than `SMALLEST_GAIN_NATS`.
    seconds: Time of both runs, with compilation.
    steps: Training steps of one run.
    first_loss_nats: Training loss of the first step.
    last_loss_nats: Training loss of the last step.
    repeatable: True if both runs gave the same parameters, bit for bit.
  """

  passed: bool
  seconds: float
  steps: int
  first_loss_nats: float
  last_loss_nats: float
  repeatable: bool


@dataclasses.dataclass(frozen=True)
class Diagnosis:
  """Content of `lmhp doctor --json`.

  Attributes:
    versions: {package: version}. None for lmhp if it is not installed, but runs from its git
      checkout.
    device: Devices of the process.
    dtype: Dtype of matrix products that `model.dtype='auto'` selects on this machine.
    caches: {name of a cache: its directory and size}.
    self_test: Result of the self-test.
  """

  versions: Mapping[str, str | None]
  device: DeviceDescription
  dtype: str
  caches: Mapping[str, Cache]
  self_test: SelfTest


def doctor(arguments: list[str]) -> int:
  """Prints devices, versions and caches, and trains a small model as a self-test."""
  parser = CommandParser(
    'doctor',
    'Show devices, versions and caches, and train a small model for a few seconds. '
    'The exit status is 1 if the self-test fails.',
  )
  parser.add_argument('words', nargs='*', help=argparse.SUPPRESS)
  parser.add_switch('json', False, 'print a JSON object')
  values = parser.parse(arguments)
  if values.words:
    raise ConfigError(f'doctor: got {values.words[0]!r}, expected no argument')

  diagnosis = diagnose()
  if values.json:
    print(json.dumps(dataclasses.asdict(diagnosis), indent=2))
  else:
    print(_format(diagnosis))
  return 0 if diagnosis.self_test.passed else 1


def diagnose() -> Diagnosis:
  """Describes the installation, and runs the self-test."""
  from lmhp.counting.precision import fastest_dtype
  from lmhp.data.cache import cache_dir
  from lmhp.data.config import DataConfig
  from lmhp.training.compile_cache import compile_cache_directory, use_compile_cache
  from lmhp.training.manifest import collect_provenance
  from lmhp.training.resumption.jax_settings import check_can_train

  use_compile_cache()
  check_can_train()
  provenance = collect_provenance(os.curdir)
  return Diagnosis(
    versions=dict(provenance.versions),
    device=provenance.device,
    dtype=fastest_dtype(),
    caches={
      'compiled programs': _measure_cache(compile_cache_directory()),
      'data': _measure_cache(os.fspath(cache_dir(DataConfig()))),
    },
    self_test=_run_self_test(),
  )


def _measure_cache(path: str | None) -> Cache:
  n_bytes = 0
  if path is not None:
    for directory, _, names in os.walk(path):
      n_bytes += sum(os.path.getsize(os.path.join(directory, name)) for name in names)
  return Cache(path, n_bytes)


def _run_self_test() -> SelfTest:
  """Trains the same small model twice, and compares the losses and the parameters."""
  import jax
  import numpy as np

  from lmhp import api, config

  overrides = {
    'model.n_layers': 2,
    'model.d_model': 64,
    'model.max_seq_len': 64,
    'train.steps': SELF_TEST_STEPS,
    'evaluate.final_sequences': 32,
    'log.tensorboard': False,
    'log.every_steps': 1,
  }

  start = time.perf_counter()
  # Train in a new directory each time, so that nothing is resumed.
  runs = []
  for _ in range(2):
    with tempfile.TemporaryDirectory() as workdir:
      run = api.train(
        config.default_config(), workdir=workdir, overrides=overrides, display='none'
      )
    runs.append(run)
  seconds = time.perf_counter() - start

  # Equal seeds must give equal parameters, bit for bit.
  pairs = zip(jax.tree.leaves(runs[0].params), jax.tree.leaves(runs[1].params))
  repeatable = all(np.array_equal(a, b) for a, b in pairs)
  losses = runs[0].history['loss_nats']
  first_loss = float(losses[0])
  last_loss = float(losses[-1])
  return SelfTest(
    passed=repeatable and last_loss < first_loss - SMALLEST_GAIN_NATS,
    seconds=seconds,
    steps=SELF_TEST_STEPS,
    first_loss_nats=first_loss,
    last_loss_nats=last_loss,
    repeatable=repeatable,
  )


def _format(diagnosis: Diagnosis) -> str:
  """Returns the diagnosis as text, with one fact on each line."""
  device = diagnosis.device
  lines = [
    f'device: {device.count} x {device.kind} ({device.platform})',
    f'processor: {device.processor}, {device.processor_cores} cores',
    f'precision of matrix products by default: {diagnosis.dtype}',
  ]
  lines += [
    f'  {name} {version or "not installed as a package"}'
    for name, version in diagnosis.versions.items()
  ]
  for name, cache in diagnosis.caches.items():
    place = (
      'off' if cache.path is None else f'{cache.path} {cache.bytes / MIB:,.0f} MiB'
    )
    lines.append(f'{name} cache: {place}')

  test = diagnosis.self_test
  verdict = 'passed' if test.passed else 'FAILED'
  comparison = 'are equal bit for bit' if test.repeatable else 'DIFFER'
  lines.append(
    f'self-test {verdict} in {test.seconds:.1f} s: loss {test.first_loss_nats:.3f} to '
    f'{test.last_loss_nats:.3f} nats in {test.steps} steps; two runs with one seed '
    f'{comparison}'
  )
  return '\n'.join(lines)
