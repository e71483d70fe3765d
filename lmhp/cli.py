"""The command line: `lmhp count`, `lmhp train`, `lmhp sweep`, `lmhp report` and others.

A mistake of the user gives one line on stderr and exit status 2. Each command imports slow
packages such as jax only when it needs them, so that help and Ctrl-C are immediate.
"""

from __future__ import annotations

from collections.abc import Sequence
import contextlib
import io
import logging
import os
import signal
import sys
import threading
import time
from types import FrameType
from typing import NoReturn
import warnings

from lmhp.commands import COMMANDS
from lmhp.commands.flags import HelpPrinted
from lmhp.errors.redaction import redact

USAGE = """lmhp: choose language-model hyperparameters, in JAX

  lmhp count TARGET...      parameters by kind, FLOPs, memory, time and cost, before training
  lmhp train --config=FILE  train one model from an experiment file, or continue a run
  lmhp sweep --config=FILE  search its hyperparameters, or continue a study
  lmhp report WORKDIR...    one page: best settings, how certain they are, what to try next
  lmhp generate WORKDIR     continue a text with a trained model
  lmhp import PATH          write an experiment file that fine-tunes a Hugging Face model
  lmhp export WORKDIR PATH  write a trained model as a Hugging Face directory
  lmhp dashboard WORKDIR    open optuna-dashboard on a study
  lmhp doctor               devices, versions, caches, and a self-test

`lmhp COMMAND --help` describes a command. `lmhp train --help_config` lists every key of a
config, `lmhp sweep --help_config` every key of a sweep. `lmhp --version` prints the version."""

THREADS_SECONDS = 5.0
"""Time that a failed command gives its threads to end."""

EXIT_MISTAKE = 2
"""Exit status after a mistake of the user."""


def run() -> NoReturn:
  """Runs the `lmhp` command, and exits.

  If a signal stops a command, the exit status is 128 plus the number of the signal, as a
  shell expects. Before a run installs its own signal handler, Ctrl-C ends the process at once.
  Python's handler is not used, because a KeyboardInterrupt during an import can be lost.
  """
  _open_closed_streams()
  continues = sys.argv[1:2] in (['train'], ['sweep'])
  # Only Python's own handler is replaced. If the parent process ignores Ctrl-C (as for a
  # background job), it stays ignored.
  if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, _end if continues else signal.SIG_DFL)
  if isinstance(sys.stdout, io.TextIOWrapper):
    # A terminal that cannot print ± prints ? instead.
    sys.stdout.reconfigure(errors='replace')
  # A save of Orbax that fails, or an asynchronous function in an experiment file, leaves one.
  warnings.filterwarnings('ignore', 'coroutine .* was never awaited', RuntimeWarning)
  logging.basicConfig()
  logging.root.handlers[0].setFormatter(_LogFormatter('lmhp: %(message)s'))
  # Hide the log lines of Orbax, which uses absl and asyncio, and of MLflow, which uses urllib3.
  # lmhp prints the important ones itself.
  hidden = ('absl', 'asyncio', 'urllib3.connectionpool')
  logging.root.handlers[0].addFilter(lambda record: record.name not in hidden)

  try:
    status = main(sys.argv[1:])
    sys.stdout.flush()
  except KeyboardInterrupt:
    # A second Ctrl-C ends a run that has not saved its state yet.
    if continues:
      _say_stopped()
    status = 128 + signal.SIGINT
  except BrokenPipeError:
    # The program that reads the output (such as `head`) has exited. Without this line, Python
    # would print an error at exit, when it flushes stdout.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    status = 128 + signal.SIGPIPE
  if status:
    _exit_despite_threads(status)
  sys.exit(status)


def _end(number: int, frame: FrameType | None) -> None:
  """Ends the process by a signal, before a run has its own handler of signals."""
  del frame
  _say_stopped()
  signal.signal(number, signal.SIG_DFL)
  os.kill(os.getpid(), number)


def _say_stopped() -> None:
  # The signal may have come during another write to the stream.
  os.write(2, b'lmhp: stopped; the same command goes on\n')


def _exit_despite_threads(status: int) -> None:
  """Ends the process if threads that a failed command has left would keep it alive.

  For instance, a save that could not start a thread leaves threads of Orbax that wait for five
  minutes. Files are written atomically or on the disk already, so nothing is lost.
  """
  deadline = time.monotonic() + THREADS_SECONDS
  for thread in threading.enumerate():
    if thread is not threading.main_thread() and not thread.daemon:
      thread.join(max(0.0, deadline - time.monotonic()))
      if thread.is_alive():
        logging.shutdown()
        for stream in (sys.stdout, sys.stderr):
          with contextlib.suppress(OSError, ValueError):
            stream.flush()
        os._exit(status)


def _open_closed_streams() -> None:
  """Opens the null device in place of each standard stream that the caller has closed.

  Otherwise a file of a run could get the number of the stream, and printed lines would go there.
  """
  for descriptor in (0, 1, 2):
    try:
      os.fstat(descriptor)
    except OSError:
      # The lowest free number is `descriptor`, because the lower ones are open.
      os.open(os.devnull, os.O_RDWR)
  if sys.stdout is None:
    sys.stdout = open(1, 'w', closefd=False)
  if sys.stderr is None:
    sys.stderr = open(2, 'w', closefd=False)


class _LogFormatter(logging.Formatter):
  """A formatter of log lines that hides passwords."""

  def format(self, record: logging.LogRecord) -> str:
    """Returns the line of a record."""
    return redact(super().format(record))


def main(arguments: Sequence[str]) -> int:
  """Runs one command.

  Args:
    arguments: Words of the command line, without the name of the program.

  Returns:
    The exit status.
  """
  if not arguments or arguments[0] in ('help', '--help', '-h', '-help'):
    print(USAGE)
    return 0
  if arguments[0] == '--version':
    from lmhp import __version__

    print(__version__)
    return 0

  from lmhp.errors import ConfigError, suggest

  command = arguments[0]
  try:
    if command not in COMMANDS:
      raise ConfigError(
        f'{command}: unknown command, expected one of {", ".join(COMMANDS)}'
        f'{suggest(command, COMMANDS)}'
      )
    return COMMANDS[command](list(arguments[1:]))
  except HelpPrinted:
    return 0
  except ConfigError as error:
    print(f'lmhp: {error}', file=sys.stderr)
  except ValueError as error:
    # The import of jax fails if a variable of the environment has a value that it refuses.
    if 'jax' in sys.modules or 'JAX' not in str(error):
      raise
    print(f'lmhp: {redact(str(error))}', file=sys.stderr)
  except BrokenPipeError:
    # BrokenPipeError is an OSError, but `run` handles it.
    raise
  except OSError as error:
    # For instance a full disk, or a directory that was removed.
    reason = f'{error.filename or command}: {error.strerror or error}'
    print(f'lmhp: {redact(reason)}', file=sys.stderr)
  return EXIT_MISTAKE
