"""No password or key reaches a file, a page or a message."""

import json
import sys

import optuna
import pytest

import lmhp
from lmhp import cli
from lmhp.config import override
from lmhp.config_keys import keys
from lmhp.errors import ConfigError, wrong_value
from lmhp.errors.redaction import redact, redact_command, redact_url

SECRET = 'hunter2'

URLS = [
  'postgresql://me:hunter2@host/db',
  'postgresql+psycopg://me:hunter2@host:5432/db?connect_timeout=3',
  'postgresql://me:x/hunter2@host/db',
  'postgresql://me:x@y:hunter2@host/db',
  'postgresql://:hunter2@host/db',
  'postgresql://host/db?user=me&password=hunter2',
  'postgresql://host/db?p%61ssword=hunter2&x=1',
  'postgresql://host/db?sslpassword=hunter2',
  'https://hunter2@host/db',
  'http://me:hunter2@host',
  'https://host/?api_key=hunter2&page=2',
  'https://host/?x=1&access-key=hunter2',
  'mssql+pyodbc:///?odbc_connect=DRIVER%3Dx%3BPWD%3Dhunter2',
]


@pytest.mark.parametrize('url', URLS)
def test_a_url_is_shown_without_its_secret(url):
  for shown in (
    redact_url(url),
    redact(f'--storage: got {url!r}, expected another'),
    str(ConfigError(f'cannot open {url}: no answer')),
    ' '.join(redact_command(['lmhp', 'sweep', f'--storage={url}', '--storage', url])),
  ):
    assert SECRET not in shown
    assert 'host' in shown or 'odbc' in shown
    assert redact(shown) == shown


def test_a_password_with_blanks_is_hidden_in_a_word():
  assert redact_url('mysql://me:a hunter2"@host/db') == 'mysql://me:***@host/db'
  assert SECRET not in redact_url('mysql://host/db?password=a hunter2')


@pytest.mark.parametrize(
  'words',
  [
    ['--password', 'hunter2'],
    ['--hf-token', 'hunter2'],
    ['--wandb_api_key=hunter2'],
    ['PGPASSWORD=hunter2'],
    ['HF_TOKEN=hunter2'],
  ],
)
def test_flags_and_variables_of_a_command_are_hidden(words):
  command = redact_command(['train.py', *words, '--steps=5'])
  assert SECRET not in ' '.join(command)
  assert command[0] == 'train.py'
  assert command[-1] == '--steps=5'


def test_texts_without_a_secret_do_not_change():
  commands = [f'--config.{key}=x1' for key in keys()]
  texts = [
    'sqlite:////tmp/study.db',
    'http://localhost:8080/?n=1',
    'data.tokenizer: got 5, expected a path',
    's3://bucket/runs/a',
    *commands,
  ]
  assert [redact(text) for text in texts] == texts
  assert redact_command(texts) == tuple(texts)


def test_a_json_text_keeps_its_form():
  text = json.dumps({'user': 'me', 'password': 'hunter2', 'port': 5})
  assert json.loads(redact(text)) == {'user': 'me', 'password': '***', 'port': 5}


def test_no_file_of_a_run_holds_a_password_of_the_command(small, monkeypatch, tmp_path):
  command = ['train.py', '--storage=postgresql://me:hunter2@host/db', '--display', 'x']
  monkeypatch.setattr(sys, 'argv', command)
  workdir = tmp_path / 'run'
  lmhp.train(small(), workdir=workdir, display='none')
  lmhp.report(workdir).save(workdir / 'report.html')
  files = [path for path in workdir.rglob('*') if path.is_file()]
  assert len(files) > 3
  assert not [path for path in files if SECRET.encode() in path.read_bytes()]
  assert (
    '--storage=postgresql://me:***@host/db' in (workdir / 'config.json').read_text()
  )


def test_a_command_line_mistake_is_printed_without_the_password(capsys, tmp_path):
  url = 'postgresql://me:hunter2@127.0.0.1:port/db'
  for words in (
    ['report', url],
    ['report', str(tmp_path / 'x.csv'), f'--storage={url}'],
  ):
    assert cli.main(words) == 2
    error = capsys.readouterr().err
    assert SECRET not in error
    assert error.count('\n') == 1


def test_a_stored_command_of_an_older_version_is_masked_in_the_report(small, tmp_path):
  lmhp.train(small(), workdir=tmp_path / 'run', display='none')
  for name in ('config.json', 'result.json'):
    path = tmp_path / 'run' / name
    content = json.loads(path.read_text())
    content.pop('checksum', None)
    content['command'] = ['lmhp', '--storage=mysql://me:hunter2@host/db']
    path.write_text(json.dumps(content))
  page = lmhp.report(tmp_path / 'run')
  for form in ('html', 'md', 'json'):
    assert SECRET not in page.text(form)


def test_an_optuna_page_does_not_show_the_password(monkeypatch):
  from lmhp.analysis.runs import optuna_studies

  study = optuna.create_study(study_name='s')
  study.optimize(lambda trial: trial.suggest_float('lr', 0, 1), n_trials=3)
  monkeypatch.setattr(optuna_studies, '_open_storage', lambda source: study._storage)
  runs = optuna_studies.read_optuna('postgresql://me:hunter2@host/db')
  assert runs.facts.source == 'postgresql://me:***@host/db'


# --- one line -------------------------------------------------------------------------


def test_a_message_is_one_line_that_every_terminal_can_print():
  message = str(ConfigError('model.\n\x1b[31m\ud800: no such key é'))
  assert message == 'model.\\n\\x1b[31m\\ud800: no such key é'
  assert len(str(ConfigError('x' * 10**6))) < 1500


def deep(n):
  value = 1
  for _ in range(n):
    value = [value]
  return value


class Unprintable:
  def __repr__(self):
    raise RuntimeError


@pytest.mark.parametrize(
  'value',
  [10**5000, deep(3000), Unprintable(), '\ud800\n'],
  ids=('digits', 'deep', 'object', 'text'),
)
def test_a_value_that_cannot_be_printed_is_still_one_line(value):
  message = str(wrong_value('model.position', value, 'a name', ['rotary']))
  assert message.startswith('model.position: got ')
  message.encode()
  assert message.count('\n') == 0


@pytest.mark.parametrize(
  'path',
  [1, None, ('a',), 'model.\n', 'x' * 10000],
  ids=('number', 'none', 'tuple', 'newline', 'long'),
)
def test_a_path_that_is_no_key_is_one_line(path):
  with pytest.raises(ConfigError) as error:
    override(lmhp.default_config(), {path: 1})
  assert '\n' not in str(error.value)
  assert len(str(error.value)) < 1500
