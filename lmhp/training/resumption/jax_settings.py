"""Settings of JAX, in the environment or in its config: which ones lmhp accepts or stores."""

from __future__ import annotations

import importlib.util
import os
import shlex

import jax

from lmhp.errors import ConfigError
from lmhp.typing import JSON

NUMERIC_JAX_OPTIONS = (
  'jax_enable_x64',
  'jax_default_matmul_precision',
  'jax_default_prng_impl',
  'jax_threefry_partitionable',
  'jax_random_seed_offset',
  'jax_numpy_dtype_promotion',
)
"""Options of jax that change the numbers of a run. They may be set in the environment."""

FLAG_VARIABLES = ('XLA_FLAGS', 'LIBTPU_INIT_ARGS')
"""Variables of the environment with flags of the compiler, most of which change numbers."""

NEUTRAL_FLAGS = (
  'xla_force_host_platform_device_count',
  'xla_dump_',
  'xla_hlo_profile',
  'xla_detailed_logging',
  'xla_enable_dumping',
  'xla_gpu_cuda_data_dir',
  'xla_gpu_force_compilation_parallelism',
  'xla_gpu_kernel_cache_file',
  'xla_gpu_per_fusion_autotune_cache_dir',
  'xla_gpu_dump_',
  'xla_cpu_parallel_codegen_split_count',
)
"""Beginnings of the names of flags that change no number: logs, caches and device counts."""

_ACCEPTED_SETTINGS = {
  'jax_disable_jit': ('False',),
  'jax_numpy_dtype_promotion': ('standard',),
  'jax_transfer_guard': ('None', 'allow', 'log'),
}
"""Values of options of jax, as text, with which lmhp can train."""

_EXTRAS = {'cuda': 'cuda13', 'gpu': 'cuda13'}
"""{word of JAX_PLATFORMS: extra of lmhp that installs its backend}."""


def check_device() -> None:
  """Checks that JAX finds a device.

  Raises:
    ConfigError: If it finds none, for instance because JAX_PLATFORMS names another platform.
  """
  try:
    jax.devices()
  except (RuntimeError, AssertionError) as error:
    # JAX raises an empty AssertionError if the only platform of the list has no device.
    reason = ' '.join(str(error).split())
  else:
    return
  platforms = os.environ.get('JAX_PLATFORMS') or str(jax.config.values['jax_platforms'])
  advice = 'a platform of this machine, such as cpu, or none'
  extra = _EXTRAS.get(platforms)
  if extra is not None:
    has_plugin = importlib.util.find_spec(f'jax_{extra}_plugin') is not None
    install = '' if has_plugin else f' (pip install "lmhp[{extra}]" for NVIDIA GPUs)'
    advice = f'cpu or none, or an NVIDIA GPU with its driver{install}'
  described = f' ({reason})' if reason else ''
  raise ConfigError(
    f'JAX_PLATFORMS: got {platforms!r}, with which JAX finds no device{described}, expected '
    f'{advice}'
  )


def check_can_train() -> None:
  """Checks that JAX finds a device, and that its options allow the training.

  Raises:
    ConfigError: If it finds none, or if an option has a value with which lmhp cannot train.
  """
  for name, accepted in _ACCEPTED_SETTINGS.items():
    # Some options are members of an enumeration, whose text is the word in the environment.
    value = str(jax.config.values[name])
    if value not in accepted:
      raise ConfigError(
        f'{name.upper()}: got {value}, with which lmhp cannot compile its programs, '
        f'expected {" or ".join(accepted)}'
      )
  check_device()


def numeric_jax_options() -> dict[str, JSON]:
  """Returns the settings that change numbers in this process, by name.

  They are the values of `NUMERIC_JAX_OPTIONS`, and the flags of `FLAG_VARIABLES` without those
  that change no number, sorted and with spaces between them.
  """
  options: dict[str, JSON] = {
    name: jax.config.values[name] for name in NUMERIC_JAX_OPTIONS
  }
  for variable in FLAG_VARIABLES:
    options[variable] = numeric_flags(os.environ.get(variable, ''))
  return options


def numeric_flags(text: str) -> str:
  """Returns the flags that may change numbers, sorted and with spaces between them.

  Args:
    text: Flags, or the path of a file of flags, as in XLA_FLAGS.

  >>> numeric_flags('--xla_dump_to=/x --xla_cpu_enable_fast_math')
  '--xla_cpu_enable_fast_math=true'
  """
  if text.strip() and not text.strip().startswith('-'):
    try:
      with open(text.strip()) as file:
        text = file.read()
    except (OSError, ValueError):
      # XLA ends the process if it cannot read the file.
      return text.strip()
  values: dict[str, str] = {}
  for flag in shlex.split(text, posix=False):
    name, _, value = flag.lstrip('-').partition('=')
    # The last value of a flag counts.
    if not name.startswith(NEUTRAL_FLAGS):
      values[name] = value or 'true'
  return ' '.join(f'--{name}={value}' for name, value in sorted(values.items()))
