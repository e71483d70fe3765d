"""A study that a stranger has written: it is read, or refused in one line."""

import copy
import json
import random
import re

from small_studies import write_study_of_all_statuses

from lmhp.analysis.runs.sources import read
from lmhp.errors import ConfigError

VALUES = (
  None,
  True,
  -1,
  0,
  1.5,
  10**400,
  1e308,
  float('nan'),
  float('inf'),
  '',
  '../../x',
  [],
  ['x'],
  {},
  {'a': 1},
  [[[]]],
  2**63,
  '\ud800',
  'a\nb',
)
N_CHANGES = 150


def places(value, path=()):
  """Yields the path of each value inside a JSON value."""
  if path:
    yield path
  if isinstance(value, dict):
    for key in value:
      yield from places(value[key], (*path, key))
  if isinstance(value, list):
    for index in range(len(value)):
      yield from places(value[index], (*path, index))


def change(record, rng):
  """Replaces or removes one value at any depth of a record."""
  *parents, last = rng.choice(list(places(record)))
  inner = record
  for key in parents:
    inner = inner[key]
  if rng.random() < 0.15:
    del inner[last]
  else:
    inner[last] = rng.choice(VALUES)


def test_any_value_of_any_type_is_read_or_refused_in_one_line(tmp_path):
  workdir = tmp_path / 'run'
  write_study_of_all_statuses(workdir)
  # Without checksums, as an older version or a stranger writes records.
  text = (workdir / 'study.journal').read_text()
  text = re.sub(r',"checksum":"\w+"', '', text)
  records = [json.loads(line) for line in text.splitlines()]
  assert len(records) > 10
  rng = random.Random(0)
  n_refused = 0
  for _ in range(N_CHANGES):
    changed = copy.deepcopy(records)
    change(rng.choice(changed), rng)
    lines = [json.dumps(record, separators=(',', ':')) for record in changed]
    (workdir / 'study.journal').write_text('\n'.join(lines) + '\n')
    try:
      read(workdir)
    except ConfigError as error:
      n_refused += 1
      assert '\n' not in str(error)
  assert 20 < n_refused < N_CHANGES


def test_directions_of_a_stranger_are_checked(tmp_path):
  workdir = tmp_path / 'run'
  write_study_of_all_statuses(workdir)
  header = json.loads((workdir / 'study.json').read_text())
  del header['checksum']
  for directions in ([], ['up'], ['minimize', '']):
    (workdir / 'study.json').write_text(
      json.dumps({**header, 'directions': directions})
    )
    try:
      read(workdir)
    except ConfigError as error:
      assert 'directions' in str(error)
    else:
      raise AssertionError(directions)
