"""The verbs on the command line: `lmhp count`, `lmhp train`, `lmhp sweep`, `lmhp report` and four more.

A mistake of the user's is one line on stderr and exit status 2. Nothing but Python's own is imported before a verb
needs it, so that help comes at once, and Ctrl-C too.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
from typing import NoReturn, Sequence

from lmhp.commands import COMMANDS

USAGE = """lmhp: a laboratory for language-model hyperparameters

  lmhp count TARGET...      parameters by kind, FLOPs, memory, time and cost, before the model exists
  lmhp train --config=FILE  train one model from an experiment file, or go on where it was stopped
  lmhp sweep --config=FILE  search its hyperparameters, many trials in one program, or go on where it was stopped
  lmhp report WORKDIR...    one page that says what was found, how sure it is, and what to try next
  lmhp generate WORKDIR     continue a text with a trained model
  lmhp import PATH          a pretrained model from a Hugging Face directory, ready to fine-tune
  lmhp export WORKDIR PATH  a trained model as a Hugging Face directory
  lmhp dashboard WORKDIR    look at a sweep in a browser

`lmhp VERB --help` says more of a verb; `lmhp train --help_config` lists every key of a config, `lmhp sweep
--help_config` those of a sweep."""

MISTAKE = 2
"""Exit status after a mistake of the user's."""


def run() -> NoReturn:
  """The entry point of the `lmhp` command. What a signal stops exits as the shell has it: with 128 and its number.

  Until a run holds the signals they end the process at once: an exception raised by a handler may be lost, or worse,
  in a module that is being imported.
  """
  if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)
  sys.stdout.reconfigure(errors='replace')  # a terminal without ± shows ?
  logging.basicConfig(format='lmhp: %(message)s')
  logging.root.handlers[0].addFilter(
    lambda record: record.name != 'absl'
  )  # orbax's: what matters, lmhp says itself
  try:
    status = main(sys.argv[1:])
    sys.stdout.flush()
  except KeyboardInterrupt:
    status = 128 + signal.SIGINT
  except BrokenPipeError:  # the reader of our output has gone
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    status = 128 + signal.SIGPIPE
  sys.exit(status)


def main(arguments: Sequence[str]) -> int:
  """Runs one command; returns its exit status."""
  if not arguments or arguments[0] in ('help', '--help', '-h', '-help'):
    print(USAGE)
    return 0
  if arguments[0] == '--version':
    from lmhp import __version__

    print(__version__)
    return 0
  from lmhp.errors import ConfigError, suggest

  verb, rest = arguments[0], list(arguments[1:])
  try:
    if verb not in COMMANDS:
      raise ConfigError(
        f'{verb}: no such verb, expected one of {", ".join(COMMANDS)}{suggest(verb, COMMANDS)}'
      )
    return COMMANDS[verb](rest)
  except ConfigError as error:
    print(f'lmhp: {error}', file=sys.stderr)
  except OSError as error:  # a full disk, a directory taken away
    if isinstance(error, BrokenPipeError):
      raise
    print(f'lmhp: {error.filename or verb}: {error.strerror or error}', file=sys.stderr)
  return MISTAKE
