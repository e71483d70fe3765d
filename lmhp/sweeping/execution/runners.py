"""The runners by name of the engine."""

from __future__ import annotations

from collections.abc import Callable

from lmhp.sweeping.execution.local_runner import LocalRunner
from lmhp.sweeping.execution.runner import Runner, RunnerOptions


def _local(options: RunnerOptions) -> Runner:
  del options
  return LocalRunner()


def _ray(options: RunnerOptions) -> Runner:
  # The module imports Ray, which is an extra.
  from lmhp.sweeping.execution.ray_runner import RayRunner

  return RayRunner(options)


RUNNERS: dict[str, Callable[[RunnerOptions], Runner]] = {'local': _local, 'ray': _ray}
"""Returns a runner: the local process, or a Ray cluster."""
