"""The manifest of a run, `config.json`: its config, its data and its provenance.

A manifest does not contain the name of the host or of the user. Reading one needs no jax.
"""

from __future__ import annotations

from collections.abc import Mapping
import dataclasses
import datetime
import importlib.metadata
import os
import platform
import subprocess
import sys
from typing import Any

from lmhp.counting.cpu import processor_name
from lmhp.errors import ConfigError
from lmhp.errors.redaction import redact_command
from lmhp.files import as_path, is_remote, read_json
from lmhp.typing import JSON, PathLike

MANIFEST_FILE = 'config.json'

PACKAGES = ('lmhp', 'jax', 'jaxlib', 'flax', 'optax', 'orbax-checkpoint', 'numpy')
"""Packages whose versions a manifest contains."""


# --- provenance ---------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class GitState:
  """State of a git checkout.

  Attributes:
    commit: Hash of the commit. None before the first commit.
    dirty: True if tracked files differ from the commit.
  """

  commit: str | None
  dirty: bool


@dataclasses.dataclass(frozen=True)
class DeviceDescription:
  """The devices of a process.

  Attributes:
    platform: Platform of the devices, such as 'gpu'.
    kind: Name of the first device.
    count: Number of devices.
    processor: Name of the host's processor.
    processor_cores: Number of cores that the process may use.
  """

  platform: str
  kind: str
  count: int
  processor: str
  processor_cores: int | None


@dataclasses.dataclass(frozen=True)
class Provenance:
  """The code, the machine and the command that a result comes from.

  Attributes:
    versions: {package: version}, and the version of 'python'. None for a package that is not
      installed, such as lmhp if it runs from its checkout.
    git: State of the checkout. None outside a checkout, or without git.
    device: Devices of the process.
    command: Words of the command line, `sys.argv`, without passwords.
    started_utc: Time of the start, in ISO format.
  """

  versions: Mapping[str, str | None]
  git: GitState | None
  device: DeviceDescription
  command: tuple[str, ...]
  started_utc: str

  def to_json(self) -> dict[str, JSON]:
    """Returns the provenance as JSON, {name: value}."""
    return dataclasses.asdict(self)

  @classmethod
  def from_json(cls, values: Mapping[str, Any]) -> Provenance:
    """Returns the provenance that `to_json` wrote. Other keys of `values` are ignored.

    Raises:
      KeyError or TypeError: If a key is missing or a value has another type.
    """
    git = values['git']
    return cls(
      versions=dict(values['versions']),
      git=None if git is None else GitState(**git),
      device=DeviceDescription(**values['device']),
      command=tuple(values['command']),
      started_utc=values['started_utc'],
    )


def collect_provenance(directory: PathLike = os.curdir) -> Provenance:
  """Returns the provenance of this process.

  Args:
    directory: Directory whose git checkout is described, if it is in one.
  """
  now = datetime.datetime.now(datetime.UTC)
  versions = {package: _version(package) for package in PACKAGES}
  return Provenance(
    versions={'python': platform.python_version(), **versions},
    git=git_state(directory),
    device=describe_device(),
    command=redact_command(sys.argv),
    started_utc=now.isoformat(timespec='seconds'),
  )


def _version(package: str) -> str | None:
  try:
    return importlib.metadata.version(package)
  except importlib.metadata.PackageNotFoundError:
    return None


def git_state(directory: PathLike) -> GitState | None:
  """Returns the state of a checkout, or None outside a checkout or without git.

  Nothing that the repository configures is executed: no monitor, filter, hook, or program of a
  submodule. The repository may be a stranger's.
  """
  status = _run_git(
    directory,
    'status',
    '--porcelain=v2',
    '--branch',
    '--untracked-files=no',
    '--ignore-submodules=all',
  )
  if status is None:
    return None

  # A line with a `#` is about the branch. Each other line is a changed file.
  lines = status.splitlines()
  commits = [line.split()[-1] for line in lines if line.startswith('# branch.oid')]
  # Git writes `(initial)` before the first commit.
  commit = None if commits == ['(initial)'] else commits[0]
  return GitState(commit, dirty=any(not line.startswith('#') for line in lines))


# Settings with which git starts no program of a repository.
_SAFE_SETTINGS = {
  'core.fsmonitor': 'false',
  'core.hooksPath': os.devnull,
  'core.attributesFile': os.devnull,
  'diff.external': '',
  'protocol.allow': 'never',
}


def _run_git(directory: PathLike, *arguments: str) -> str | None:
  """Returns the output of a git command that reads a checkout, or None if it fails."""
  # Settings in variables of the environment replace those of the repository. The names of
  # filters are read first. Reading settings starts no program.
  settings = dict(_SAFE_SETTINGS)
  names = _output_of_git(directory, settings, 'config', '--list', '--name-only', '-z')
  if names is None:
    return None
  for name in names.split('\0'):
    if name.startswith('filter.') and name.endswith(('.clean', '.smudge', '.process')):
      settings[name] = ''
    elif name.startswith('filter.') and name.endswith('.required'):
      settings[name] = 'false'
  return _output_of_git(directory, settings, *arguments)


def _output_of_git(
  directory: PathLike, settings: Mapping[str, str], *arguments: str
) -> str | None:
  environment = {
    **os.environ,
    # Without this variable, `git status` may lock the index against another git.
    'GIT_OPTIONAL_LOCKS': '0',
    # A missing object is not fetched from another place.
    'GIT_NO_LAZY_FETCH': '1',
    'GIT_TERMINAL_PROMPT': '0',
  }
  # Keep the settings that the user passes in the same way.
  given = environment.get('GIT_CONFIG_COUNT', '')
  n_given = int(given) if given.isdecimal() else 0
  environment['GIT_CONFIG_COUNT'] = str(n_given + len(settings))
  for number, (name, value) in enumerate(settings.items(), start=n_given):
    environment[f'GIT_CONFIG_KEY_{number}'] = name
    environment[f'GIT_CONFIG_VALUE_{number}'] = value
  command = ['git', '-C', os.fspath(directory), *arguments]
  try:
    process = subprocess.run(
      command,
      env=environment,
      stdin=subprocess.DEVNULL,
      capture_output=True,
      text=True,
      errors='replace',
      timeout=10,
      check=True,
    )
  except (OSError, ValueError, subprocess.SubprocessError):
    return None
  return process.stdout


def describe_device() -> DeviceDescription:
  """Returns the devices of this process."""
  import jax

  device = jax.devices()[0]
  # A container or `taskset` may allow fewer cores than the machine has.
  cores = os.cpu_count()
  if sys.platform == 'linux':
    cores = len(os.sched_getaffinity(0))
  return DeviceDescription(
    platform=device.platform,
    kind=device.device_kind,
    count=jax.device_count(),
    processor=processor_name(),
    processor_cores=cores,
  )


# --- the manifest -------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class RunManifest:
  """Content of the `config.json` of a run.

  Attributes:
    config: Completed config, {section: {key: value}}, as `lmhp.config.to_json` returns it.
    overrides: Values that the command set, {dotted path: value}.
    data_sha256: Digest of the tokens of the dataset.
    provenance: Code, machine and command of the run.
    jax_options: Options of jax that change numbers, by name. Empty for a run of a version that
      did not store them.
    pretrained_config: The `config.json` of the pretrained model that the run starts from.
      An export of the run uses it again. None if the run starts from random parameters.
  """

  config: Mapping[str, Mapping[str, JSON]]
  overrides: Mapping[str, object]
  data_sha256: str
  provenance: Provenance
  jax_options: Mapping[str, JSON] = dataclasses.field(default_factory=dict)
  pretrained_config: Mapping[str, JSON] | None = None

  def to_json(self) -> dict[str, object]:
    """Returns the manifest as JSON, {name: value}."""
    values: dict[str, object] = {
      'config': self.config,
      'overrides': self.overrides,
      'data_sha256': self.data_sha256,
      'jax_options': self.jax_options,
      **self.provenance.to_json(),
    }
    if self.pretrained_config is not None:
      values['pretrained_config'] = self.pretrained_config
    return values

  @classmethod
  def from_json(cls, values: Mapping[str, Any]) -> RunManifest:
    """Returns the manifest that `to_json` wrote.

    Raises:
      KeyError or TypeError: If a key is missing or a value has another type.
    """
    return cls(
      config={section: dict(keys) for section, keys in dict(values['config']).items()},
      overrides=dict(values['overrides']),
      data_sha256=values['data_sha256'],
      provenance=Provenance.from_json(values),
      jax_options=dict(values.get('jax_options', {})),
      pretrained_config=values.get('pretrained_config'),
    )


def read_manifest(workdir: PathLike) -> RunManifest | None:
  """Returns the manifest of a run, or None if the directory has none.

  Args:
    workdir: Directory of the run.

  Raises:
    ConfigError: If the file is damaged, or is not the manifest of a run.
  """
  path = as_path(workdir) / MANIFEST_FILE
  if not path.exists():
    return None
  try:
    values = read_json(path)
    if not isinstance(values, Mapping):
      raise TypeError('expected a JSON object')
    return RunManifest.from_json(values)
  except (ConfigError, LookupError, TypeError, ValueError) as error:
    raise not_a_manifest(workdir, f'{type(error).__name__}: {error}') from None


def not_a_manifest(workdir: PathLike, reason: str) -> ConfigError:
  """Builds the error for a `config.json` that is not the manifest of a run."""
  return ConfigError(
    f'{as_path(workdir) / MANIFEST_FILE}: this file is not the config of an lmhp run '
    f'({reason}); choose another workdir'
  )


def check_is_free(workdir: PathLike) -> None:
  """Checks that a new run can use a directory.

  The caller has checked that the directory has no manifest.

  Args:
    workdir: Directory of the new run, which need not exist.

  Raises:
    ConfigError: If the directory is a file, if there is no permission to write in it, or if
      it has a file that the run would replace.
  """
  directory = as_path(workdir)
  for name in ('checkpoints', 'result.json', 'metrics.jsonl'):
    path = directory / name
    # A run that was killed at its start leaves an empty metrics.jsonl.
    if path.exists() and (name != 'metrics.jsonl' or path.stat().length):
      raise ConfigError(
        f'workdir: {directory} has a {name} and no config.json of a run, expected a new '
        'directory'
      )
  if is_remote(directory):
    return

  # The nearest parent that exists must be a directory in which the run can make files.
  parent = directory.absolute()
  while not os.path.lexists(parent):
    parent = parent.parent
  if not parent.is_dir():
    raise ConfigError(
      f'workdir: got {str(directory)!r}, but {str(parent)!r} is a file, expected a '
      'directory'
    )
  if not os.access(parent, os.W_OK | os.X_OK):
    raise ConfigError(
      f'workdir: got {str(directory)!r}, but there is no permission to write in '
      f'{str(parent)!r}, expected a writable directory'
    )
