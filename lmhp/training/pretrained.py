"""Parameters that a run starts from instead of drawing them."""

from __future__ import annotations

from typing import Any

from etils import epath

from lmhp.errors import ConfigError
from lmhp.hub.config_json import read_json
from lmhp.hub.pretrained import load_pretrained
from lmhp.model.transformer import Model
from lmhp.params import walk_arrays


def config_of_pretrained(path: str) -> dict[str, Any]:
  """The config.json of a directory that a run starts from, which its own export takes up again."""
  try:
    return read_json(epath.Path(path) / 'config.json')
  except ConfigError as error:
    raise ConfigError(f'train.init_from: {error}') from None


def pretrained(path: str, model: Model) -> Any:
  """The parameters of a Hugging Face directory, for a run's own structure.

  Args:
    path: of the directory.
    model: the run's, which may differ in what no parameter hangs on: dropout, context, precision.

  Returns:
    A nested dict of numpy arrays, in the precision that they are stored in.

  Raises:
    ConfigError: where the directory cannot be read, or one of its parameters is not the run's; one line.
  """
  try:
    theirs, params, _ = load_pretrained(path)
  except ConfigError as error:
    raise ConfigError(f'train.init_from: {error}') from None
  wanted = {name: shape.shape for name, shape in walk_arrays(model.shapes)}
  came = {name: shape.shape for name, shape in walk_arrays(theirs.shapes)}
  for name in sorted(wanted.keys() | came.keys()):
    if wanted.get(name) != came.get(name):
      raise ConfigError(
        f"train.init_from: {path}: {name}: got {came.get(name, 'none')}, but the config's model has "
        f'{wanted.get(name, "none")}'
      )
  return params
