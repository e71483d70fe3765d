"""Records of a journal: one JSON object a line, with a checksum in each record of lmhp.

The format is that of Optuna's `JournalFileBackend`. A record that lmhp writes has one more
field, which Optuna ignores::

  {"op_code":8,"worker_id":"...",...,"checksum":"0f1e2d3c4b5a6978"}

The checksum covers the record and the checksum of the lmhp record before it. So lmhp notices if
one was changed, removed or moved. A record without a checksum was written by another program,
such as optuna-dashboard. Another program may add studies, trials and notes, but may not change
the studies, trials and attributes of lmhp.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
import hashlib
import json
import logging
import pathlib
import re

from lmhp.errors import ConfigError
from lmhp.typing import JSON

ATTRIBUTE_PREFIX = 'lmhp'
"""The names of the study attributes that lmhp writes begin with this."""

# Values of "op_code" in Optuna's journal.
CREATE_STUDY = 0
DELETE_STUDY = 1
SET_STUDY_USER_ATTRIBUTE = 2
CREATE_TRIAL = 4
# Records that set a parameter, the state, an intermediate value, a user or a system attribute.
CHANGES_OF_A_TRIAL = (5, 6, 7, 8, 9)

_RECORD_START = b'{"op_code":'
_CHECKSUM = re.compile(rb',"checksum":"([0-9a-f]{16})"\}$')
_log = logging.getLogger(__name__)


class DamagedJournal(ConfigError):
  """A journal with a record that was changed, or with a line that is no record."""


def encode(record: Mapping[str, JSON], previous: str) -> bytes:
  """Returns a record of lmhp as a line.

  Args:
    record: The record, without a checksum.
    previous: Checksum of the record of lmhp before it, or '' for the first record.
  """
  text = json.dumps(record, separators=(',', ':')).encode()
  return text[:-1] + b',"checksum":"%s"}\n' % _digest(text, previous).encode()


def _digest(text: bytes, previous: str) -> str:
  return hashlib.sha256(previous.encode() + text).hexdigest()[:16]


class RecordReader:
  """Checks the lines of one journal in their order.

  Args:
    path: Path of the journal, for messages.

  Attributes:
    previous: Checksum of the last record of lmhp that was read, or '' before the first one.
  """

  def __init__(self, path: pathlib.Path):
    self.path = path
    self.previous = ''
    self._guard = _Guard()
    self._reported = False

  def read(self, number: int, line: bytes) -> dict[str, JSON] | None:
    """Returns the record of a line.

    Returns None if another program wrote the record, and it changes a study, a trial or an
    attribute of lmhp. The record must then be ignored.

    Args:
      number: Number of the line, 1 and up.
      line: A complete line, without the newline.

    Raises:
      DamagedJournal: If the checksum does not fit, or the line is no record.
    """
    record = _parse(line)
    if record is None:
      raise _damaged(self.path, number, 'is no record')

    # The checksum covers the text before it, and the checksum of the lmhp record before this one.
    match = _CHECKSUM.search(line)
    if match is not None:
      text = line[: match.start()] + b'}'
      checksum = match[1].decode()
      if _digest(text, self.previous) != checksum:
        reason = 'does not fit its checksum: this record or one before it was changed'
        raise _damaged(self.path, number, reason)
      self.previous = checksum

    # Only lmhp writes checksums.
    if self._guard.accepts(record, by_lmhp=match is not None):
      return record
    if not self._reported:
      self._reported = True
      _log.warning(
        '%s line %d: ignored this record of another program, because it changes a trial or an '
        'attribute of this sweep; more of them are ignored without a message',
        self.path,
        number,
      )
    return None


def _parse(line: bytes) -> dict[str, JSON] | None:
  """Returns the record of a line, or None if the line is not a record."""
  try:
    record = json.loads(line)
  except (ValueError, RecursionError):
    return None
  if not isinstance(record, dict) or not isinstance(record.get('op_code'), int):
    return None
  # A record names studies and trials by their number.
  numbers = [record.get(name, 0) for name in ('study_id', 'trial_id')]
  return record if all(isinstance(number, int) for number in numbers) else None


def _damaged(path: pathlib.Path, number: int, reason: str) -> DamagedJournal:
  return DamagedJournal(
    f'{path}: line {number} {reason}, expected a journal that only lmhp and '
    'Optuna have written'
  )


class _Guard:
  """Tracks the studies and trials of lmhp, and refuses changes of them by other programs.

  Optuna numbers studies and trials in the order of the records that create them. This class
  counts them in the same way.
  """

  def __init__(self):
    self._study_names: dict[int, str] = {}
    self._n_studies = 0
    self._n_trials = 0
    self._lmhp_studies: set[int] = set()
    self._lmhp_trials: set[int] = set()

  def accepts(self, record: Mapping[str, JSON], by_lmhp: bool) -> bool:
    """Returns True if a record may be applied.

    Args:
      record: A record.
      by_lmhp: True if lmhp has written it.
    """
    operation = record['op_code']
    study = record.get('study_id')
    if isinstance(study, int) and by_lmhp:
      self._lmhp_studies.add(study)

    # Collect the studies and trials of lmhp, which other programs may not change.
    if operation == CREATE_STUDY:
      # Optuna ignores a second study of the same name.
      name = str(record.get('study_name'))
      if name not in self._study_names.values():
        self._study_names[self._n_studies] = name
        self._n_studies += 1
    elif operation == CREATE_TRIAL and study in self._study_names:
      if by_lmhp:
        self._lmhp_trials.add(self._n_trials)
      self._n_trials += 1
    elif operation == DELETE_STUDY and isinstance(study, int):
      if study in self._lmhp_studies and not by_lmhp:
        return False
      self._study_names.pop(study, None)
    elif operation == SET_STUDY_USER_ATTRIBUTE and not by_lmhp:
      return not (study in self._lmhp_studies and _sets_lmhp_attribute(record))
    elif operation in CHANGES_OF_A_TRIAL and not by_lmhp:
      return record.get('trial_id') not in self._lmhp_trials
    return True


def _sets_lmhp_attribute(record: Mapping[str, JSON]) -> bool:
  attribute = record.get('user_attr')
  return isinstance(attribute, Mapping) and any(
    name.startswith(ATTRIBUTE_PREFIX) for name in attribute
  )


# --- torn records ---------------------------------------------------------------------


def complete_records(text: bytes, path: pathlib.Path) -> Iterator[tuple[int, bytes]]:
  """Yields the line number and the text of each complete record.

  A process that is killed while it writes leaves a torn record, the beginning of a record. It
  is the end of the file, or the start of a line that continues with the next record. Torn
  records are left out.

  Args:
    text: Content of a journal.
    path: Path of the journal, for messages.

  Raises:
    DamagedJournal: If a line other than the last one does not end with a complete record.
  """
  # Text after the last newline is torn.
  *lines, _ = text.split(b'\n')
  for number, line in enumerate(lines, start=1):
    looks_complete = (
      line.startswith(_RECORD_START)
      and line.endswith(b'}')
      and line.find(_RECORD_START, 1) < 0
    )
    # `RecordReader.read` parses each line. To save time, only the last line, which may be
    # torn, is parsed here too.
    if not looks_complete or number == len(lines):
      complete = _complete_record(line)
    else:
      complete = line
    if complete is not None:
      yield number, complete
    elif number < len(lines):
      raise _damaged(path, number, 'is no record')


def _complete_record(line: bytes) -> bytes | None:
  """Returns the complete record at the end of a line, after a torn one if any, or None."""
  starts = [match.start() for match in re.finditer(re.escape(_RECORD_START), line)]
  for start in (0, *starts):
    record = line[start:]
    if record.endswith(b'}') and _parse(record) is not None:
      return record
  return None
