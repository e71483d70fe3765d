"""`best.py`: an experiment file that quotes whatever it contains."""

import dataclasses

import pytest

from lmhp import config as config_lib, experiment
from lmhp.config_keys import SECTIONS
from lmhp.sweeping.result import write_best_file


@pytest.mark.parametrize(
  'name',
  [
    'x"""+__import__("os").system("touch EXECUTED")+"""',
    "x'''\"\"\";open('EXECUTED', 'w')#",
    'runs\\Nov\\x\\u12',
    'two\nlines {docstring} {lines} %s',
    'é {0} \\',
  ],
)
def test_the_name_of_the_directory_is_only_text(tmp_path, monkeypatch, name):
  monkeypatch.chdir(tmp_path)
  workdir = tmp_path / name.replace('/', '_')
  config = {
    section: {field.name: field.default for field in dataclasses.fields(cls)}
    for section, cls in SECTIONS.items()
  }
  config['train']['steps'] = 7
  config['data']['path'] = ('a"""b', 'c\\', "d'", 'e\n')
  write_best_file(workdir, config, f'The winner of the study in {workdir}.')
  loaded, module = experiment.load(workdir / 'best.py')
  assert loaded.train.steps == 7
  assert tuple(loaded.data.path) == config['data']['path']
  assert str(workdir) in module.__doc__
  assert not (tmp_path / 'EXECUTED').exists()
  assert config_lib.resolve(loaded).train.steps == 7
