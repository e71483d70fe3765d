"""Records of a journal: checksums, records of other programs, and torn records."""

import json
import logging
import pathlib

import pytest

from lmhp.sweeping.store.journal_records import (
  DamagedJournal,
  RecordReader,
  complete_records,
  encode,
)

PATH = pathlib.Path('study.journal')
RECORDS = [
  {'op_code': 0, 'worker_id': 'w', 'study_name': 'é', 'directions': [1]},
  {'op_code': 2, 'worker_id': 'w', 'study_id': 0, 'user_attr': {'lmhp_id': 'x'}},
  {'op_code': 4, 'worker_id': 'w', 'study_id': 0, 'datetime_start': None},
  {'op_code': 8, 'worker_id': 'w', 'trial_id': 0, 'user_attr': {'a': '{"op_code":'}},
]


def own_lines(records=RECORDS):
  """Returns records of lmhp as lines."""
  lines = []
  reader = RecordReader(PATH)
  for record in records:
    line = encode(record, reader.previous).rstrip(b'\n')
    reader.read(len(lines) + 1, line)
    lines.append(line)
  return lines


def foreign(record):
  return json.dumps(record, separators=(',', ':')).encode()


def read_all(lines):
  reader = RecordReader(PATH)
  records = [reader.read(number, line) for number, line in enumerate(lines, start=1)]
  for record in records:
    if record is not None:
      record.pop('checksum', None)
  return records


# --- checksums ------------------------------------------------------------------------


def test_a_record_has_one_more_field_than_that_of_optuna():
  line = json.loads(own_lines()[0])
  assert len(line.pop('checksum')) == 16
  assert line == RECORDS[0]


def test_records_are_read_back():
  assert read_all(own_lines()) == RECORDS


@pytest.mark.parametrize('number', [1, 2, 3])
def test_a_changed_byte_is_damage_in_its_line(number):
  lines = own_lines()
  lines[number - 1] = lines[number - 1].replace(b'"w"', b'"v"')
  with pytest.raises(DamagedJournal) as error:
    read_all(lines)
  assert str(error.value).startswith(f'{PATH}: line {number} ')
  assert '\n' not in str(error.value)


@pytest.mark.parametrize('change', ['removed', 'swapped', 'without checksum'])
def test_a_record_that_is_not_in_its_place_is_damage(change):
  lines = own_lines()
  if change == 'removed':
    del lines[1]
  elif change == 'swapped':
    lines[1], lines[2] = lines[2], lines[1]
  else:
    lines[1] = foreign(RECORDS[1])
  with pytest.raises(DamagedJournal):
    read_all(lines)


def test_a_line_that_is_no_json_is_damage():
  lines = own_lines()
  lines[2] = lines[2][:-20] + b'}'
  with pytest.raises(DamagedJournal) as error:
    read_all(lines)
  assert str(error.value).startswith(f'{PATH}: line 3 ')


# --- records of other programs --------------------------------------------------------


def accepted_after_own(*records):
  """Returns True for each foreign record that is applied after those of lmhp."""
  lines = own_lines() + [foreign(record) for record in records]
  return [record is not None for record in read_all(lines)[len(RECORDS) :]]


@pytest.mark.parametrize('operation', [5, 6, 7, 8, 9])
def test_another_program_may_not_change_a_trial_of_lmhp(operation):
  record = {'op_code': operation, 'worker_id': 'o', 'trial_id': 0}
  assert accepted_after_own(record) == [False]


def test_another_program_may_not_change_the_study_of_lmhp():
  records = [
    {'op_code': 1, 'worker_id': 'o', 'study_id': 0},
    {'op_code': 2, 'worker_id': 'o', 'study_id': 0, 'user_attr': {'lmhp_id': 'y'}},
  ]
  assert accepted_after_own(*records) == [False, False]


def test_another_program_may_add_notes_studies_and_trials_and_change_those():
  records = [
    {'op_code': 2, 'worker_id': 'o', 'study_id': 0, 'user_attr': {'note': 'y'}},
    {'op_code': 3, 'worker_id': 'o', 'study_id': 0, 'system_attr': {'note': 'y'}},
    {'op_code': 4, 'worker_id': 'o', 'study_id': 0},
    {'op_code': 8, 'worker_id': 'o', 'trial_id': 1, 'user_attr': {'x': 1}},
    {'op_code': 0, 'worker_id': 'o', 'study_name': 'other', 'directions': [1]},
    {'op_code': 4, 'worker_id': 'o', 'study_id': 1},
    {'op_code': 6, 'worker_id': 'o', 'trial_id': 2, 'state': 1},
    {'op_code': 1, 'worker_id': 'o', 'study_id': 1},
  ]
  assert accepted_after_own(*records) == [True] * len(records)


def test_trials_of_a_deleted_study_are_not_counted():
  """Optuna ignores the record that would create one."""
  lines = [foreign({'op_code': 0, 'worker_id': 'o', 'study_name': 'x'})]
  lines += [foreign({'op_code': 1, 'worker_id': 'o', 'study_id': 0})]
  lines += [foreign({'op_code': 4, 'worker_id': 'o', 'study_id': 0})]
  own = [{**record, 'study_id': 1} for record in RECORDS[1:3]]
  lines += own_lines([RECORDS[0], *own])
  lines += [foreign({'op_code': 8, 'worker_id': 'o', 'trial_id': 0})]
  assert read_all(lines)[-1] is None


def test_changes_that_are_ignored_have_one_log_line(caplog):
  record = {'op_code': 8, 'worker_id': 'o', 'trial_id': 0, 'user_attr': {}}
  with caplog.at_level(logging.WARNING):
    accepted_after_own(record, record)
  (message,) = caplog.messages
  assert f'{PATH} line {len(RECORDS) + 1}:' in message


# --- torn records ---------------------------------------------------------------------


def test_a_torn_record_is_left_out_wherever_it_is_torn():
  text = b''.join(line + b'\n' for line in own_lines())
  ends = [i + 1 for i, byte in enumerate(text) if byte == ord('\n')]
  for size in range(len(text)):
    lines = [line for _, line in complete_records(text[:size], PATH)]
    assert len(lines) == sum(end <= size for end in ends)


@pytest.mark.parametrize('tail', [b'\n', b'\0\0\0', b'garbage\n', b'{"op_code": 1'])
def test_a_torn_tail_is_left_out(tail):
  text = b''.join(line + b'\n' for line in own_lines())
  assert [line for _, line in complete_records(text + tail, PATH)] == own_lines()


def test_what_another_program_appends_to_a_torn_record_stays():
  first, second, *_ = own_lines()
  note = foreign({'op_code': 3, 'study_id': 0, 'system_attr': {'a': '{"op_code":'}})
  for size in range(1, len(second)):
    text = first + b'\n' + second[:size] + note + b'\n'
    assert list(complete_records(text, PATH)) == [(1, first), (2, note)]


@pytest.mark.parametrize(
  'text', [b'garbage\n%s', b'%sgarbage\n%s', b'%s{}\n%s', b'%s[]\n%s', b'1\n%s']
)
def test_a_line_that_no_kill_explains_is_damage(text):
  text = text.replace(b'%s', b'{"op_code":0}\n')
  with pytest.raises(DamagedJournal) as error:
    list(complete_records(text, PATH))
  line = 2 if text.startswith(b'{') else 1
  assert str(error.value).startswith(f'{PATH}: line {line} ')
