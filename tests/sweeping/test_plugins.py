"""Entries from outside the package in a study: sweeps, resumes, Ray workers and reports."""

import os
import pathlib
import subprocess
import sys

import pytest
from small_runs import words

import lmhp
from lmhp.sweeping.store.study import read_manifest

ROOT = pathlib.Path(lmhp.__file__).parents[1]

OPTIMIZER = """
import optax

from lmhp.declarations import traced
from lmhp.optim.registry import register_optimizer
from lmhp.optim.spec import OptimizerSpec
from lmhp.sections import keys


@keys
class ToyKeys:
  toy_factor: float = traced(0.5, 'factor on the gradient', low=0.0)


def scale(cfg, numbers):
  del cfg
  return optax.scale(numbers['toy_factor'])


register_optimizer('toy', OptimizerSpec(scale, 'l2', source='test', keys=ToyKeys))
"""

CONFIG = """
import pathlib
import lmhp

HERE = pathlib.Path({here!r})
CONFIG = {{
  'data': {{
    'path': (str(HERE / 'words.txt'),),
    'tokenizer': 'char',
    'cache_dir': str(HERE / 'cache'),
  }},
  'model': {{
    'd_model': 4, 'n_heads': 1, 'n_layers': 1, 'max_seq_len': 8, 'dtype': 'float32',
  }},
  'optimizer': {{'name': 'toy', 'learning_rate': 0.1, 'weight_decay': 0.0}},
  'train': {{'steps': 4, 'batch_size': 2}},
  'evaluate': {{'sequences': 2}},
}}


def get_config():
  return CONFIG


def get_sweep(trials=2):
  return lmhp.SweepConfig(
    space={{'optimizer.toy_factor': lmhp.Float(0.1, 1.0)}},
    search='halton',
    trials=trials,
    confirm_points=0,
    execution='loop',
  )


def sweep(trials=2, **options):
  return lmhp.sweep(
    CONFIG, get_sweep(trials), workdir=HERE / 'study', display='none', report=False,
    **options,
  )
"""


@pytest.fixture
def run(tmp_path):
  """`run(code)`: the output of code in a process of its own, which can import `outside`.

  The base config and `sweep(trials)` are defined there.
  """
  (tmp_path / 'words.txt').write_text(words(600))
  (tmp_path / 'modules').mkdir()
  (tmp_path / 'modules/outside.py').write_text(OPTIMIZER)

  def run_code(code, can_import_outside=True, setup=None):
    if setup is None:
      setup = CONFIG.format(here=str(tmp_path))
    paths = [str(ROOT)]
    if can_import_outside:
      paths.append(str(tmp_path / 'modules'))
    environment = {
      **os.environ,
      'PYTHONPATH': os.pathsep.join(paths),
      'XLA_FLAGS': '--xla_backend_optimization_level=0',
    }
    done = subprocess.run(
      [sys.executable, '-c', setup + code],
      env=environment,
      cwd=tmp_path,
      capture_output=True,
      text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout.strip()

  return run_code


SAY_ERROR = """
import sys
try:
  {call}
except lmhp.ConfigError as error:
  print(error)
"""


@pytest.mark.slow
def test_a_study_imports_its_plugins_again(run, tmp_path):
  """The number of a toy optimizer is swept, saved, resumed and reported."""
  first = run('import outside\nprint([t.values for t in sweep().trials])')
  assert read_manifest(tmp_path / 'study').plugins == ('outside',)

  # A process that does not import the plugin itself continues the study.
  more = run('print([t.values for t in sweep(4).trials])')
  assert more.startswith(first[:-1])
  assert len(eval(more)) == len(set(eval(more))) == 4

  code = """
import sys
report = lmhp.report(HERE / 'study')
print('outside' in sys.modules, 'toy_factor' in report.text('md'))
"""
  assert run(code) == 'True True'

  for call in ('sweep()', "lmhp.report(HERE / 'study')"):
    message = run(SAY_ERROR.format(call=call), can_import_outside=False)
    assert message.startswith('plugins: ')
    assert "'outside'" in message
    assert '\n' not in message


@pytest.mark.slow
def test_an_experiment_file_that_registers_an_entry_is_run_again(run, tmp_path):
  file = tmp_path / 'experiment.py'
  file.write_text(OPTIMIZER + CONFIG.format(here=str(tmp_path)))
  code = """
import lmhp
for trials in (2, 3):
  result = lmhp.sweep(
    'experiment.py', workdir='study', display='none', report=False,
    overrides={'sweep.trials': trials},
  )
  print(len(result.trials))
"""
  assert run(code, can_import_outside=False, setup='') == '2\n3'
  assert read_manifest(tmp_path / 'study').plugins == ()
  # A report does not run experiment files.
  code = "import lmhp\nprint('toy_factor' in lmhp.report('study').text('md'))"
  assert run(code, can_import_outside=False, setup='') == 'True'


PICKLE = """
import pickle
from lmhp.sweeping.execution.ray_worker import worker_recipe
from lmhp.sweeping.request import build_request

request = build_request({config}, get_sweep(), None)
recipe = worker_recipe(request.task, request.experiment_file)
pathlib.Path(HERE, 'recipe').write_bytes(pickle.dumps(recipe))
"""

UNPICKLE = """
import pathlib, pickle, lmhp
task = pickle.loads(pathlib.Path('recipe').read_bytes())()
print(task.base_values()['optimizer.toy_factor'])
"""


@pytest.mark.slow
def test_a_worker_imports_the_plugins_of_the_driver(run):
  run('import outside\n' + PICKLE.format(config='CONFIG'))
  assert run(UNPICKLE, setup='') == '0.5'
  code = SAY_ERROR.format(call=UNPICKLE.replace('\n', '\n  '))
  message = run('import lmhp' + code, can_import_outside=False, setup='')
  assert message.startswith('plugins: ')
  assert "'outside'" in message


def test_a_worker_runs_the_experiment_file_of_the_driver(run, tmp_path):
  file = tmp_path / 'experiment.py'
  file.write_text(OPTIMIZER + CONFIG.format(here=str(tmp_path)))
  run(PICKLE.format(config="'experiment.py'"), can_import_outside=False)
  assert run(UNPICKLE, can_import_outside=False, setup='') == '0.5'
