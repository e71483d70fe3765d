"""Imports point down only, walls hold, and what is imported lazily stays so: read from the source, and in processes."""

import ast
import os
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[1]
PACKAGE = ROOT / 'lmhp'

# What a sweep's spaces and designs are made of.
SPACES = tuple(
  f'lmhp.sweeping.{name}'
  for name in (
    'domains',
    'combinators',
    'tree',
    'parameters',
    'checking',
    'grid',
    'streams',
    'space',
    'designs',
    'ladder',
    'halving',
    'pbt',
  )
)

# From the ground up. A module is of the first floor whose names it starts with; of one floor's rooms none imports
# another.
FLOORS = (
  (
    'lmhp.errors',
    'lmhp.hypers',
    'lmhp.statistics',
    'lmhp.counting.leaves',
    'lmhp.optim.schedules',
    'lmhp.training.loss',
    'lmhp.training.history',
    *SPACES,
  ),
  ('lmhp.model', 'lmhp.data'),
  ('lmhp.counting', 'lmhp.hub'),
  ('lmhp.optim',),
  ('lmhp.training', 'lmhp.adapters', 'lmhp.generation'),
  ('lmhp.config',),
  ('lmhp.experiment', 'lmhp.help'),
  ('lmhp.sweeping',),
  ('lmhp.analysis',),
  ('lmhp.api',),
  ('lmhp.commands',),
  ('lmhp.cli',),
  ('lmhp.__main__',),
)
GROUND = {
  'lmhp.errors',
  'lmhp.hypers',
  'lmhp.statistics',
  *SPACES,
}  # what the ground floor may import of itself

# Who may import a library; all others may not.
WALLS = {
  'flax': ('lmhp.model',),
  'ml_collections': ('lmhp.config',),
  'orbax': ('lmhp.training.checkpoint',),
  'optuna': ('lmhp.sweeping', 'lmhp.analysis'),
  'ray': ('lmhp.sweeping.ray_runner',),
  'torch': (),
  'transformers': (),
  'tensorboardX': ('lmhp.training.writers',),
  'wandb': ('lmhp.training.writers',),
  'datasets': ('lmhp.data.readers',),
  'pyarrow': ('lmhp.data.readers', 'lmhp.sweeping.curves'),
  'tokenizers': ('lmhp.data.tokenizer',),
  'rich': (
    'lmhp.training.display',
    'lmhp.counting.table',
    'lmhp.sweeping.display',
    'lmhp.sweeping.board',
  ),
}
NO_JAX = (
  'lmhp',
  'lmhp.__main__',
  'lmhp.cli',
  'lmhp.commands',
  'lmhp.errors',
  'lmhp.hypers',
  'lmhp.statistics',
  'lmhp.training.history',
  *SPACES,
  'lmhp.model.config',
  'lmhp.data.config',
  'lmhp.hub.config_json',
  'lmhp.counting.leaves',
)


def name_of(path):
  parts = path.relative_to(ROOT).with_suffix('').parts
  return '.'.join(parts[:-1] if parts[-1] == '__init__' else parts)


MODULES = {name_of(path): path for path in sorted(PACKAGE.rglob('*.py'))}


def imports(name):
  """Everything that a module imports anywhere in its text, as full names: of `from a import b`, a.b where it is one."""
  for node in ast.walk(ast.parse(MODULES[name].read_text())):
    if isinstance(node, ast.Import):
      yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
      assert node.level == 0, f'{name}: a relative import'
      for alias in node.names:
        full = f'{node.module}.{alias.name}'
        yield full if full in MODULES else node.module


def within(name, prefixes):
  return any(name == prefix or name.startswith(f'{prefix}.') for prefix in prefixes)


def floor(name):
  """Number of the floor and the room on it."""
  for number, rooms in enumerate(FLOORS):
    for room in rooms:
      if within(name, [room]):
        return number, room
  raise AssertionError(f'{name} is on no floor')


def test_there_are_modules_and_each_has_a_floor():
  assert len(MODULES) > 40
  for name in MODULES:
    assert name == 'lmhp' or floor(name)


@pytest.mark.parametrize('name', MODULES)
def test_imports_point_down(name):
  for other in imports(name):
    if not within(other, ['lmhp']) or other == name or name == 'lmhp':
      continue
    if other == 'lmhp':
      assert name in ('lmhp.cli', 'lmhp.commands'), f'{name} imports the package itself'
      continue
    (mine, my_room), (its, its_room) = floor(name), floor(other)
    same_room = my_room == its_room and mine > 0
    ground = mine == its == 0 and other in GROUND
    assert its < mine or same_room or ground, (
      f'{name} (floor {mine}) imports {other} (floor {its})'
    )


@pytest.mark.parametrize('library', WALLS)
def test_walls(library):
  for name in MODULES:
    for other in imports(name):
      assert not within(other, [library]) or within(name, WALLS[library]), (
        f'{name} imports {other}'
      )


@pytest.mark.parametrize('name', [name for name in NO_JAX if name in MODULES])
def test_no_jax_by_name(name):
  for other in imports(name):
    assert not within(other, ['jax', 'jaxlib', 'optax', 'flax']), (
      f'{name} imports {other}'
    )


# --- what is loaded, in a process of its own ------------------------------------------------------------------------

HEAVY = (
  'jax',
  'jaxlib',
  'flax',
  'optax',
  'orbax',
  'ml_collections',
  'pyarrow',
  'tokenizers',
  'tensorboardX',
  'rich',
  'scipy',
  'torch',
  'transformers',
  'pandas',
  'matplotlib',
)


def loaded(code, names=HEAVY):
  """Which of the names are in sys.modules after some code, and in a fresh process."""
  check = f'\nimport sys; print(*[n for n in {names!r} if n in sys.modules], sep=",", file=sys.stderr)'
  environment = {**os.environ, 'PYTHONPATH': str(ROOT)}
  command = [sys.executable, '-c', code + check]
  done = subprocess.run(
    command, env=environment, capture_output=True, text=True, check=True
  )
  return [name for name in done.stderr.strip().split(',') if name]


def test_importing_the_package_loads_nothing():
  assert loaded('import lmhp', (*HEAVY, 'numpy', 'absl')) == []
  assert loaded('import lmhp; lmhp.ConfigError; dir(lmhp)') == []


def test_help_loads_nothing():
  assert (
    loaded('from lmhp.cli import main; main(["--help"])', (*HEAVY, 'numpy', 'absl'))
    == []
  )
  for verb in ('train', 'count', 'sweep', 'generate', 'dashboard', 'report'):
    assert loaded(f'from lmhp.cli import main; main(["{verb}", "--help"])') == []


@pytest.mark.parametrize(
  'names', [['lmhp.hypers', 'lmhp.statistics'], ['lmhp.training.history']]
)
def test_what_is_read_on_a_laptop_loads_no_jax(names):
  assert loaded(f'import {", ".join(names)}') == []


def test_analysis_loads_no_jax():
  code = 'import lmhp.analysis.report.pages, lmhp.analysis.reading, lmhp.analysis.report.page'
  assert (
    loaded(
      code,
      ('jax', 'jaxlib', 'flax', 'orbax', 'torch', 'transformers', 'pandas', 'plotly'),
    )
    == []
  )
  code = (
    'from lmhp import analysis; analysis.fit_scaling_law, analysis.critical_batch_size'
  )
  assert loaded(code, ('jax', 'scipy', 'optuna', 'pyarrow')) == []


def test_counting_loads_nothing_of_training():
  code = 'import lmhp; lmhp.count("gpt2")'
  assert loaded(code, ('pyarrow', 'tensorboardX', 'torch', 'transformers')) == []
