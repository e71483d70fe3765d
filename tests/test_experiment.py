"""Experiment files import their siblings, and errors name the line."""

import pathlib
import sys

import pytest

from lmhp import experiment, registry
from lmhp.errors import ConfigError

COMMON = 'import lmhp\n\n\ndef base():\n  config = lmhp.default_config()\n'
COMMON += '  config.train.steps = {steps}\n  return config\n'


@pytest.fixture(autouse=True)
def imports_stay(monkeypatch, tmp_path):
  """Restores `sys.path` and what the files of the test have imported."""
  before = list(sys.path)
  monkeypatch.chdir(tmp_path)
  yield
  (tmp_path / 'last.py').write_text('def get_config():\n  return {}\n')
  experiment.load(tmp_path / 'last.py')
  experiment._import_folders.clear()
  sys.path[:] = before


def write(folder, steps=7, line='from common import base', name='exp.py'):
  folder.mkdir(exist_ok=True)
  (folder / 'common.py').write_text(COMMON.format(steps=steps))
  (folder / name).write_text(f'{line}\n\n\ndef get_config():\n  return base()\n')
  return folder / name


def steps_of(path):
  return experiment.load(path)[0].train.steps


@pytest.mark.parametrize(
  'line', ['from common import base', 'from .common import base']
)
def test_file_imports_the_file_beside_it(tmp_path, line):
  assert steps_of(write(tmp_path / 'a', line=line)) == 7


@pytest.mark.parametrize(
  'line', ['from common import base', 'from .common import base']
)
def test_another_folder_has_its_own_siblings(tmp_path, line):
  assert steps_of(write(tmp_path / 'a', 7, line)) == 7
  assert steps_of(write(tmp_path / 'b', 8, line)) == 8
  assert steps_of(tmp_path / 'a' / 'exp.py') == 7


def test_changed_sibling_is_read_again(tmp_path):
  assert steps_of(write(tmp_path / 'a', 7)) == 7
  assert steps_of(write(tmp_path / 'a', 1234)) == 1234


def test_file_imports_a_package_of_the_current_directory(tmp_path):
  write(tmp_path / 'package')
  line = 'from package.common import base'
  assert steps_of(write(tmp_path / 'a', 8, line)) == 7


def test_sibling_that_get_sweep_imports_is_found(tmp_path):
  path = write(tmp_path / 'a')
  text = path.read_text() + '\n\ndef get_sweep():\n  import late\n  return late.X\n'
  path.write_text(text)
  (tmp_path / 'a' / 'late.py').write_text('X = 3\n')
  assert experiment.sweep_of(experiment.load(path)[1]) == 3


def test_entries_of_a_sibling_need_the_experiment_file(tmp_path):
  path = write(tmp_path / 'a')
  common = tmp_path / 'a' / 'common.py'
  common.write_text(
    common.read_text() + '\nfrom lmhp.registry import Registry\n\n'
    "Registry('test entry').register('x', 1)\n"
  )
  try:
    steps_of(path)
    assert 'common' not in registry.importable_plugin_modules()
  finally:
    registry._all[:] = [r for r in registry._all if r.kind != 'test entry']


@pytest.mark.parametrize('is_relative', [False, True])
@pytest.mark.parametrize('function', ['get_config', 'get_sweep'])
def test_error_names_the_line_in_the_file(tmp_path, is_relative, function):
  functions = {'get_config': '  return {}', 'get_sweep': '  return None'}
  functions[function] = '  return 1 / 0'
  text = '\n'.join(f'def {name}():\n{body}' for name, body in functions.items())
  path = tmp_path / 'exp.py'
  path.write_text(text + '\n')
  given = pathlib.Path('exp.py') if is_relative else path
  line = 2 if function == 'get_config' else 4
  with pytest.raises(ConfigError, match=f"exp.py', line {line}: ZeroDivisionError"):
    experiment.sweep_of(experiment.load(given)[1])


def test_error_in_a_sibling_names_the_line_of_the_import(tmp_path):
  path = write(tmp_path / 'a')
  (tmp_path / 'a' / 'common.py').write_text('x = (\n')
  with pytest.raises(ConfigError, match=r"exp.py', line 1: SyntaxError.*common\.py"):
    experiment.load(path)


def test_modules_of_the_interpreter_are_kept(tmp_path):
  before = {name for name in sys.modules if name.startswith('numpy')}
  steps_of(write(tmp_path / 'a'))
  steps_of(write(tmp_path / 'b'))
  assert before <= set(sys.modules)
