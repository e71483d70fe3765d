"""Imports point down, libraries stay behind their walls, and heavy imports stay lazy."""

import ast
import importlib
import os
import pathlib
import subprocess
import sys
import types

import pytest

ROOT = pathlib.Path(__file__).parents[1]
PACKAGE = ROOT / 'lmhp'

# Folders and files of the package from the top down. Each may import what stands below it.
LAYERS = (
  '__main__',
  'cli',
  'commands',
  'api',
  'analysis',
  'sweeping',
  'experiment',
  'config_help',
  'config',
  'config_keys',
  'training',
  'generation',
  'hub',
  'counting',
  'optim',
  'data',
  'model',
  'params',
  'hypers',
  'sections',
  'declarations',
  'registry',
  'renamed_keys',
  'locks',
  'files',
  'statistics',
  'errors',
  'typing',
)

# Folders and files that may import a library. No other module may.
WALLS = {
  'flax': ('lmhp.model',),
  'ml_collections': ('lmhp.config',),
  'orbax': ('lmhp.training.checkpoint',),
  'optuna': ('lmhp.sweeping', 'lmhp.analysis.runs', 'lmhp.analysis.hyperparameters'),
  'ray': ('lmhp.sweeping.execution.ray_cluster',),
  'torch': (),
  'transformers': (),
  'safetensors': ('lmhp.hub.tensor_file',),
  'tensorboardX': ('lmhp.training.writers',),
  'wandb': ('lmhp.training.writers',),
  'datasets': ('lmhp.data.readers',),
  'pyarrow': ('lmhp.data', 'lmhp.sweeping.store', 'lmhp.analysis.runs'),
  'tokenizers': ('lmhp.data.tokenizer', 'lmhp.data.bpe', 'lmhp.data.special_tokens'),
  'rich': (
    'lmhp.commands',
    'lmhp.counting.console',
    'lmhp.training.progress',
    'lmhp.sweeping.progress',
  ),
}
NO_JAX = (
  'lmhp.__main__',
  'lmhp.cli',
  'lmhp.commands',
  'lmhp.analysis',
  'lmhp.sweeping.space',
  'lmhp.sweeping.store',
  'lmhp.model.config',
  'lmhp.model.config.activation_registry',
  'lmhp.model.config.attention',
  'lmhp.model.config.experts',
  'lmhp.model.config.feed_forward',
  'lmhp.model.config.model_config',
  'lmhp.model.config.normalization',
  'lmhp.model.config.positions',
  'lmhp.model.config.scales',
  'lmhp.model.config.sizes',
  'lmhp.model.counts',
  'lmhp.model.mixers',
  'lmhp.model.mixers.registry',
  'lmhp.model.mixers.keys',
  'lmhp.model.mixers.attention',
  'lmhp.model.mixers.convolution',
  'lmhp.model.mixers.gated_recurrence',
  'lmhp.model.mixers.mingru',
  'lmhp.model.mixers.rglru',
  'lmhp.model.mixers.mamba2',
  'lmhp.data.config',
  'lmhp.hub.config_json',
  'lmhp.params',
  'lmhp.hypers',
  'lmhp.files',
  'lmhp.statistics',
  'lmhp.errors',
)


def name_of(path):
  parts = path.relative_to(ROOT).with_suffix('').parts
  return '.'.join(parts[:-1] if parts[-1] == '__init__' else parts)


MODULES = {name_of(path): path for path in sorted(PACKAGE.rglob('*.py'))}


def imports(name):
  """Yields the full names of everything that a module imports, anywhere in its text.

  `from a import b` gives a.b if it is a module, else a.
  """
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


def layer(name):
  """Returns the number of the layer of a module, 0 at the top."""
  return LAYERS.index(name.split('.')[1])


def test_every_folder_and_root_file_is_a_layer():
  found = {
    p.stem
    for p in PACKAGE.iterdir()
    if p.suffix == '.py' or (p / '__init__.py').exists()
  }
  assert found - {'__init__'} == set(LAYERS)


@pytest.mark.parametrize('name', [name for name in MODULES if name != 'lmhp'])
def test_imports_point_down(name):
  for other in imports(name):
    if not within(other, ['lmhp']):
      continue
    if other == 'lmhp':
      assert within(name, ['lmhp.cli', 'lmhp.commands']), (
        f'{name} imports the package itself'
      )
      continue
    assert layer(name) <= layer(other), f'{name} imports {other}, which stands above it'


def test_no_import_circles():
  graph = {
    name: {other for other in imports(name) if other in MODULES} - {name}
    for name in MODULES
  }
  # Remove modules that import nothing that is left. What remains imports each other.
  while leaves := [name for name, others in graph.items() if not others & set(graph)]:
    for name in leaves:
      del graph[name]
  assert not graph


def test_no_folder_has_more_than_16_files():
  for folder in {path.parent for path in MODULES.values()}:
    n_files = len([path for path in folder.glob('*.py') if path.name != '__init__.py'])
    assert n_files <= 16 or folder.name == 'families', f'{folder} has {n_files} files'


@pytest.mark.parametrize(
  'package', [name for name, path in MODULES.items() if path.name == '__init__.py']
)
def test_no_module_shares_its_name_with_an_export(package):
  """`package.name` would be a function before the module is imported, and the module after it."""
  if package == 'lmhp.commands':
    return
  module = importlib.import_module(package)
  exported = {
    name
    for name in dir(module)
    if not isinstance(getattr(module, name), types.ModuleType)
  }
  folder = MODULES[package].parent
  assert not exported & {path.stem for path in folder.iterdir()}


@pytest.mark.parametrize('library', WALLS)
def test_libraries_stay_behind_one_folder(library):
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


# --- what is loaded, in a process of its own ----------------------------------------

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
  """Returns the names in `sys.modules` after some code in a new process."""
  check = (
    f'\nimport sys; loaded = [n for n in {names!r} if n in sys.modules]'
    '\nprint(*loaded, sep=",", file=sys.stderr)'
  )
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
  'names',
  [
    ['lmhp.hypers', 'lmhp.statistics.smoothing'],
    ['lmhp.training.history'],
    ['lmhp.model.config'],
  ],
)
def test_reading_results_loads_no_jax(names):
  assert loaded(f'import {", ".join(names)}') == []


def test_analysis_loads_no_jax():
  code = (
    'import lmhp.analysis.report.page, lmhp.analysis.runs.sources, '
    'lmhp.analysis.report.render.html'
  )
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
