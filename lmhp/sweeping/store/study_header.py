"""The directory of a study: its file `study.json`, and its lock.

`study.json` holds only the facts that are needed to open the storage. The lock ensures that only
one process writes the study.
"""

from __future__ import annotations

import dataclasses
import pathlib

from lmhp.errors import ConfigError
from lmhp.errors.redaction import redact_url
from lmhp.files import is_remote
from lmhp.locks import FileLock
from lmhp.sweeping.store.json_records import read_record
from lmhp.typing import PathLike

HEADER = 'study.json'
JOURNAL = 'study.journal'
LOCK = 'study.lock'
DIRECTIONS = {'minimize', 'maximize'}


@dataclasses.dataclass(frozen=True)
class StudyHeader:
  """Content of `study.json`.

  Attributes:
    name: Name of the study in its storage.
    directions: "minimize" or "maximize" for each objective.
    id: Random text that distinguishes studies with the same name. The storage has it, too.
    storage: URL of the database without its password, or None for the journal.
  """

  name: str
  directions: tuple[str, ...]
  id: str
  storage: str | None = None

  @classmethod
  def read(cls, workdir: pathlib.Path, storage: str | None) -> StudyHeader | None:
    """Returns the header of a study, or None if the directory has none.

    Args:
      workdir: Directory of the study.
      storage: URL of the storage that will be opened, or None for the journal.

    Raises:
      ConfigError: If the file is damaged, or if the study is in a database and a journal was
        requested, or the reverse.
    """
    path = workdir / HEADER
    if not path.exists():
      return None
    header = read_record(cls, path)
    if not header.directions or not set(header.directions) <= DIRECTIONS:
      raise ConfigError(
        f'{path}: directions: got {list(header.directions)!r:.60}, expected "minimize" or '
        '"maximize" for each objective'
      )
    if (storage is None) != (header.storage is None):
      shown = None if storage is None else redact_url(storage)
      accepted = f'no --storage, since the study in {workdir} is in the file {JOURNAL}'
      if header.storage is not None:
        accepted = f'{header.storage}, the database of the study in {workdir}'
      raise ConfigError(f'--storage: got {shown}, expected {accepted}')
    return header


def local_directory(workdir: PathLike) -> pathlib.Path:
  """Returns the directory of a study as a path, which must be on this machine.

  Raises:
    ConfigError: If it is in an object store, such as gs://...
  """
  if is_remote(workdir):
    raise ConfigError(
      f'workdir: got {str(workdir)!r}, expected a directory on this machine for a study'
    )
  return pathlib.Path(workdir).expanduser()


def lock_for_writing(workdir: pathlib.Path) -> FileLock:
  """Locks a study. The lock ends with the process, or if it is closed.

  Raises:
    ConfigError: If another process writes the study.
  """
  return FileLock(
    workdir / LOCK,
    f'{workdir}: another process is writing this study; wait for it, or use another '
    'workdir',
  )
