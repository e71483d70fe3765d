"""`study.json` and the lock: one writer, and each study is opened as what it is."""

import json
import subprocess
import sys

import pytest
from small_studies import lines_of, open_study, write_study_of_all_statuses

from lmhp.errors import ConfigError
from lmhp.errors.redaction import redact_url
from lmhp.sweeping.store.study import Study
from lmhp.sweeping.store.study_header import StudyHeader

HOLDER = """
import sys
sys.path.insert(0, sys.argv[2])
import small_studies
with small_studies.open_study(sys.argv[1]):
  print('open', flush=True)
  sys.stdin.read()
"""


def test_one_process_writes_at_a_time_and_any_reads(tmp_path):
  tests = [path for path in sys.path if path.endswith('/tests')][0]
  holder = subprocess.Popen(
    [sys.executable, '-c', HOLDER, str(tmp_path / 'run'), tests],
    stdin=subprocess.PIPE,
    stdout=subprocess.PIPE,
  )
  try:
    assert holder.stdout.readline() == b'open\n'
    with pytest.raises(ConfigError, match='another process is writing this study'):
      open_study(tmp_path / 'run')
    assert Study.read(tmp_path / 'run').trials == []
  finally:
    holder.communicate()
  open_study(tmp_path / 'run').close()


@pytest.mark.parametrize(
  ('options', 'key'),
  [
    ({'storage': 'sqlite:///other.db'}, '--storage'),
    ({'directions': ('maximize',)}, 'directions'),
  ],
)
def test_a_study_is_opened_as_what_it_is(tmp_path, options, key):
  open_study(tmp_path / 'run').close()
  with pytest.raises(ConfigError) as error:
    open_study(tmp_path / 'run', **options)
  assert str(error.value).startswith(f'{key}: ')


def test_a_study_must_be_on_this_machine():
  with pytest.raises(ConfigError) as error:
    open_study('gs://bucket/run')
  assert str(error.value).startswith('workdir: ')


def test_a_directory_without_a_study_cannot_be_read(tmp_path):
  with pytest.raises(ConfigError) as error:
    Study.read(tmp_path)
  assert str(error.value).startswith(f'{tmp_path}: ')


WHOLE = {'name': 'run', 'directions': ['minimize'], 'id': 'x', 'storage': 'u'}
DAMAGED = [
  b'',
  b'{"name": "run",\n',
  b'\xff\xfe',
  b'{}\n{}',
  b'[]',
  b'null',
  b'{}',
  json.dumps({**WHOLE, 'newer': 1}).encode(),
  *(json.dumps({**WHOLE, key: 1}).encode() for key in WHOLE),
]


@pytest.mark.parametrize('text', DAMAGED)
def test_a_damaged_header_is_one_line_and_is_left_alone(tmp_path, text):
  workdir = tmp_path / 'run'
  before = write_study_of_all_statuses(workdir)
  path = workdir / 'study.json'
  whole = path.read_bytes()
  path.write_bytes(text)
  for open_again in (open_study, Study.read):
    with pytest.raises(ConfigError) as error:
      open_again(workdir)
    message = str(error.value)
    assert message.startswith(str(path))
    assert '\n' not in message
    assert path.read_bytes() == text
  path.write_bytes(whole)
  with open_study(workdir) as study:
    assert lines_of(study.trials) == lines_of(before)


def test_the_header_holds_only_what_opens_the_storage(tmp_path):
  open_study(tmp_path / 'run').close()
  header = json.loads((tmp_path / 'run/study.json').read_text())
  assert set(header) == {'name', 'directions', 'id', 'checksum'}
  read = StudyHeader.read(tmp_path / 'run', None)
  assert (read.name, read.directions, read.storage) == ('run', ('minimize',), None)


def test_a_url_is_stored_without_its_password():
  url = 'postgresql://user:secret@host/db'
  assert redact_url(url) == 'postgresql://user:***@host/db'
  assert redact_url('sqlite:///a.db') == 'sqlite:///a.db'
