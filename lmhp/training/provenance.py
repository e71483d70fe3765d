"""Where a result comes from: versions, code, machine, command. Neither the host's name nor the user's."""

from __future__ import annotations

import datetime
from importlib import metadata
import os
import pathlib
import platform
import subprocess
import sys
from typing import Any

PACKAGES = ('lmhp', 'jax', 'jaxlib', 'flax', 'optax', 'orbax-checkpoint', 'numpy')


def describe(directory: Any = '.') -> dict[str, Any]:
  """What must be known to run this again, as JSON.

  Args:
    directory: where to look for a git checkout; most often the one the command was given in.

  Returns:
    `versions` by package, `git` (`commit` and whether tracked files were `dirty`; None outside a checkout), `device`
    (`platform`, `kind`, `count`, `processor`, `processor_cores`), `command` (its words) and `started_utc`.
  """
  started = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec='seconds')
  versions = {
    'python': platform.python_version(),
    **{name: _version(name) for name in PACKAGES},
  }
  return {
    'versions': versions,
    'git': _git(directory),
    'device': _device(),
    'command': list(sys.argv),
    'started_utc': started,
  }


def _version(package: str) -> str | None:
  try:
    return metadata.version(package)
  except (
    metadata.PackageNotFoundError
  ):  # lmhp itself, run from its checkout: its commit says more
    return None


def _git(directory: Any) -> dict[str, Any] | None:
  """The commit checked out, and whether tracked files differ from it; None without git or outside a checkout."""
  command = [
    'git',
    '-C',
    str(directory),
    'status',
    '--porcelain=v2',
    '--branch',
    '--untracked-files=no',
  ]
  environment = {
    **os.environ,
    'GIT_OPTIONAL_LOCKS': '0',
  }  # only look: another git may be at work here
  try:
    answer = subprocess.run(
      command, env=environment, capture_output=True, text=True, timeout=10, check=True
    )
  except (OSError, subprocess.SubprocessError):
    return None
  lines = answer.stdout.splitlines()
  commit = next(
    (line.split()[-1] for line in lines if line.startswith('# branch.oid')), None
  )
  return {'commit': commit, 'dirty': any(not line.startswith('#') for line in lines)}


def _device() -> dict[str, Any]:
  import jax

  device = jax.devices()[0]
  return {
    'platform': device.platform,
    'kind': device.device_kind,
    'count': jax.device_count(),
    'processor': _processor(),
    'processor_cores': len(os.sched_getaffinity(0))
    if hasattr(os, 'sched_getaffinity')
    else os.cpu_count(),
  }


def _processor() -> str:
  """The processor's name: Linux tells it in a file, others through `platform`."""
  try:
    lines = pathlib.Path('/proc/cpuinfo').read_text().splitlines()
  except OSError:
    return platform.processor() or platform.machine()
  return next(
    (line.split(':', 1)[1].strip() for line in lines if line.startswith('model name')),
    platform.machine(),
  )
