"""The verbs of the command line, each from its words to its exit status.

Nothing but Python's own is imported before a verb needs it.
"""

from __future__ import annotations

from typing import Callable

from lmhp.commands import models, reading, running

VERBS: dict[str, Callable[[list[str]], int]] = {
  'count': reading.count,
  'train': running.train,
  'sweep': running.sweep,
  'report': reading.report,
  'generate': models.generate,
  'import': models.import_,
  'export': models.export,
  'dashboard': running.dashboard,
}
