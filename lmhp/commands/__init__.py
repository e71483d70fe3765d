"""The commands of the command line, one file per group of commands.

A command is a function of the words after its name. It returns the exit status. Each command
imports slow packages such as jax only when it needs them, so that `--help` is fast.
"""

from __future__ import annotations

from collections.abc import Callable

from lmhp.commands import checkpoints, counting, installation, reports, runs, studies

COMMANDS: dict[str, Callable[[list[str]], int]] = {
  'count': counting.count,
  'train': runs.train,
  'sweep': studies.sweep,
  'report': reports.report,
  'generate': checkpoints.generate,
  'import': checkpoints.import_,
  'export': checkpoints.export,
  'dashboard': studies.dashboard,
  'doctor': installation.doctor,
}
