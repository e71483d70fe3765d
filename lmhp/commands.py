"""The verbs of the command line, each from its words to its exit status.

Nothing but Python's own is imported before a verb needs it.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any, Callable

if TYPE_CHECKING:
  from absl import flags


def _parse(values: flags.FlagValues, arguments: list[str], usage: str) -> list[str] | None:
  """The positional arguments; None where help was asked for, and given.

  Raises:
    ConfigError: for a flag that does not exist or does not parse.
  """
  from absl import flags

  from lmhp.hypers import ConfigError

  if any(a in ('--help', '-h', '-help') for a in arguments):
    print(f'{usage}\n')
    for name in sorted(values):
      flag = values[name]
      print(f'  --{name}: {flag.help} (default {flag.default!r})')
    return None
  try:
    return values(['lmhp', *arguments])[1:]
  except flags.Error as error:
    raise ConfigError(str(error).split('\n')[0]) from None


# --- count ----------------------------------------------------------------------------------------------------------


def _count(arguments: list[str]) -> int:
  from absl import flags

  from lmhp.hypers import ConfigError

  fv = flags.FlagValues()
  flags.DEFINE_bool('json', False, 'print a list of JSON objects', flag_values=fv)
  flags.DEFINE_integer('seq_len', None, 'tokens in a sequence; the context of each model where not given', 1,
                       flag_values=fv)
  flags.DEFINE_integer('batch_size', None, 'sequences in a step: adds the activations', 1, flag_values=fv)
  flags.DEFINE_string('device', None, 'hardware: adds time and cost of training', flag_values=fv)
  flags.DEFINE_float('utilization', 0.4, 'share of the device\'s peak that training reaches', 0.0, flag_values=fv)
  flags.DEFINE_float('tokens', None, 'training tokens; 20 for each parameter where not given', 1, flag_values=fv)
  targets = _parse(fv, arguments, 'lmhp count TARGET...: a preset, an experiment file, or a Hugging Face config.json')
  if targets is None:
    return 0
  if not targets:
    raise ConfigError('count: got no target, expected a preset, an experiment file or a config.json')
  from lmhp import api
  from lmhp.counting.table import table

  reports = [api.count(t, seq_len=fv.seq_len, batch_size=fv.batch_size, device=fv.device, utilization=fv.utilization,
                       tokens=fv.tokens) for t in targets]
  if fv.json:
    print(json.dumps(reports, indent=2))
  else:
    table(reports)
  return 0


# --- train ----------------------------------------------------------------------------------------------------------


def config_overrides(arguments: list[str]) -> tuple[list[str], dict[str, Any]]:
  """Takes `--config.a.b=value`, `--config.a.b value` and `--noconfig.a.b` out of a command line, and `--sweep.a=value`.

  Returns:
    The other arguments, and {dotted path: text of the value, or a bool where none was given}; those of a sweep keep
    `sweep.` in front.

  >>> config_overrides(['--config.train.steps=5', '--workdir=x', '--noconfig.model.gated'])
  (['--workdir=x'], {'train.steps': '5', 'model.gated': False})
  """
  rest, overrides = [], {}
  waiting = list(arguments)
  while waiting:
    word = waiting.pop(0)
    name, equals, value = word.lstrip('-').partition('=')
    if word.startswith('-') and name.startswith('noconfig.') and not equals:
      overrides[name.removeprefix('noconfig.')] = False
    elif word.startswith('-') and name.startswith(('config.', 'sweep.')):
      if not equals and waiting and not waiting[0].startswith('--'):
        value, equals = waiting.pop(0), '='
      overrides[name.removeprefix('config.')] = value if equals else True
    else:
      rest.append(word)
  return rest, overrides


def _train(arguments: list[str]) -> int:
  from absl import flags

  arguments, overrides = config_overrides(arguments)
  fv = flags.FlagValues()
  _define_run(fv, 'the run')
  if not _ready(fv, arguments, 'lmhp train --config=FILE [--config.KEY=VALUE ...] [--workdir=DIR]'):
    return 0
  if fv.help_config:
    from lmhp.help import help_text

    print(help_text())
    return 0
  return _train_with(fv, overrides)


def _define_run(fv: flags.FlagValues, what: str) -> None:
  """The flags that training and sweeping share."""
  from absl import flags

  flags.DEFINE_string('config', None, 'experiment file with get_config(); all defaults where not given', flag_values=fv)
  flags.DEFINE_string('workdir', None, f'directory of {what}; runs/NAME of the experiment file where not given',
                      flag_values=fv)
  flags.DEFINE_enum('display', 'auto', ['auto', 'terminal', 'plain', 'notebook', 'none'], 'how progress is shown',
                    flag_values=fv)
  flags.DEFINE_bool('help_config', False, 'list every key', flag_values=fv)


def _ready(fv: flags.FlagValues, arguments: list[str], usage: str) -> bool:
  """Parses the flags of a run; False where help was asked for, and given."""
  from lmhp.hypers import ConfigError

  rest = _parse(fv, arguments, usage)
  if rest is None:
    return False
  if rest:
    raise ConfigError(f'{rest[0]}: got a word without a flag; an experiment file is given as --config={rest[0]}')
  for flag in ('config', 'workdir'):
    if fv[flag].value == '':
      raise ConfigError(f"--{flag}: got '', expected a path")
  return True


def _workdir(fv: flags.FlagValues, suffix: str = '') -> str:
  """The directory that was given, or one of the experiment file's name."""
  name = os.path.splitext(os.path.basename(fv.config.partition(':')[0]))[0] if fv.config else 'default'
  return os.path.join('runs', name + suffix) if fv.workdir is None else fv.workdir


def _train_with(fv: flags.FlagValues, overrides: dict[str, Any]) -> int:
  from lmhp import api
  from lmhp.config import default_config
  from lmhp.training.display import summary

  workdir = _workdir(fv)
  config = default_config() if fv.config is None else fv.config
  result = api.train(config, workdir=workdir, overrides=overrides, display=fv.display)
  if not result.complete:
    return 128 + result.signal
  if fv.display != 'none':
    print(summary(result.result, result.result['parameters_by_kind'], workdir))
  return 0


# --- sweep ----------------------------------------------------------------------------------------------------------


def _sweep(arguments: list[str]) -> int:
  from absl import flags

  from lmhp.hypers import ConfigError

  arguments, overrides = config_overrides(arguments)
  fv = flags.FlagValues()
  _define_run(fv, 'the study')
  flags.DEFINE_enum('engine', 'local', ['local', 'ray'], 'who runs the packs: this process, or a Ray cluster',
                    flag_values=fv)
  flags.DEFINE_string('address', None, 'of the Ray cluster; one is started here where not given', flag_values=fv)
  flags.DEFINE_string('storage', None, 'Optuna storage as a URL, as postgresql+psycopg://...; a journal in the workdir '
                      'where not given', flag_values=fv)
  flags.DEFINE_bool('report', True, 'write report.html in the workdir, at rungs and at the end', flag_values=fv)
  flags.DEFINE_bool('dry_run', False, 'say what it would take, and spend nothing', flag_values=fv)
  if not _ready(fv, arguments, 'lmhp sweep --config=FILE [--config.KEY=VALUE ...] [--sweep.KEY=VALUE ...] '
                '[--workdir=DIR]'):
    return 0
  if fv.help_config:
    from lmhp.help import help_of
    from lmhp.sweeping.config import SweepConfig

    print('\n'.join(help_of('sweep', SweepConfig)))
    return 0
  if fv.config is None:
    raise ConfigError('--config: got none, expected an experiment file with get_config() and get_sweep()')
  return _sweep_with(fv, overrides)


def _sweep_with(fv: flags.FlagValues, overrides: dict[str, Any]) -> int:
  from lmhp import api
  from lmhp.sweeping import words

  if fv.dry_run:
    print(words.of_plan(api.plan_sweep(fv.config, overrides=overrides)))
    return 0
  workdir = _workdir(fv, '_sweep')
  result = api.sweep(fv.config, workdir=workdir, overrides=overrides, engine=fv.engine, storage=fv.storage,
                     address=fv.address, display=fv.display, report=fv.report)
  if not result.complete:
    return 128 + result.signal
  if fv.display != 'none':
    print(words.of_result(result))
  return 0


def _dashboard(arguments: list[str]) -> int:
  from absl import flags

  from lmhp.hypers import ConfigError

  fv = flags.FlagValues()
  flags.DEFINE_integer('port', 8080, 'where the browser finds it', 1, 65535, flag_values=fv)
  flags.DEFINE_string('storage', None, 'Optuna storage as a URL, where the study is not a journal', flag_values=fv)
  workdirs = _parse(fv, arguments, 'lmhp dashboard WORKDIR [--port=N]')
  if workdirs is None:
    return 0
  if len(workdirs) != 1:
    raise ConfigError(f'dashboard: got {len(workdirs)} directories, expected one study\'s')
  from lmhp.sweeping.dashboard import open_dashboard

  open_dashboard(workdirs[0], port=fv.port, storage=fv.storage)
  return 0


# --- report ---------------------------------------------------------------------------------------------------------

FORMATS = {'html': '.html', 'md': '.md', 'json': '.json'}


def _report(arguments: list[str]) -> int:
  from absl import flags

  from lmhp.hypers import ConfigError

  fv = flags.FlagValues()
  flags.DEFINE_string('output', None, 'the file to write; `-` is the terminal; report.html (.md, .json) in the first '
                      'directory where not given', flag_values=fv)
  flags.DEFINE_enum('format', None, list(FORMATS), 'html, md for a paper or a pull request, json for a program; by the '
                    "output's name where not given", flag_values=fv)
  flags.DEFINE_string('objective', None, 'of a file of runs: the column to judge them by', flag_values=fv)
  flags.DEFINE_bool('maximize', None, 'of a file of runs: whether more is better', flag_values=fv)
  flags.DEFINE_list('parameters', None, 'of a file of runs: the columns that are hyperparameters', flag_values=fv)
  flags.DEFINE_string('study', None, 'of an Optuna storage with several: which', flag_values=fv)
  flags.DEFINE_string('storage', None, "of an lmhp study that is not in its directory's journal: the storage's URL",
                      flag_values=fv)
  paths = _parse(fv, arguments, 'lmhp report WORKDIR|FILE... [--output=report.html]: of a sweep, a run, several of '
                 'them, an Optuna study, or a table of runs (.csv, .tsv, .jsonl, .parquet)')
  if paths is None:
    return 0
  if not paths:
    raise ConfigError('report: got nothing, expected a directory of a sweep or a run, or a file of runs')
  return _report_with(fv, paths)


def _report_with(fv: flags.FlagValues, paths: list[str]) -> int:
  from lmhp import api
  from lmhp.hypers import ConfigError

  ending = os.path.splitext(fv.output or '')[1]
  by_name = next((name for name, suffix in FORMATS.items() if suffix == ending), None)
  if fv.output not in (None, '-') and by_name is None and fv.format is None:
    raise ConfigError(f'--output: got {fv.output!r}, expected a name that ends in {", ".join(FORMATS.values())}, or '
                      '--format')
  form = fv.format or by_name or ('md' if fv.output == '-' else 'html')
  options = {name: fv[name].value for name in ('objective', 'maximize', 'parameters', 'study', 'storage')}
  found = api.report(*paths, **options)
  if fv.output == '-':
    print(found.text(form))
    return 0
  where = fv.output or os.path.join(paths[0] if os.path.isdir(paths[0]) else '.', f'report{FORMATS[form]}')
  found.save(where, form)
  print('\n'.join([*found.answer, '', f'  {where}']))
  return 0


# --- generate -------------------------------------------------------------------------------------------------------


def _generate(arguments: list[str]) -> int:
  from absl import flags

  from lmhp.hypers import ConfigError

  fv = flags.FlagValues()
  flags.DEFINE_string('prompt', '\n', 'the text to continue', flag_values=fv)
  flags.DEFINE_integer('n_tokens', None, 'tokens to add; 200, or what the context holds, where not given', 1,
                       flag_values=fv)
  flags.DEFINE_float('temperature', 0.8, 'logits are divided by it; 0 takes the likeliest token', 0.0, flag_values=fv)
  flags.DEFINE_integer('top_k', None, 'only the likeliest k are drawn from', 1, flag_values=fv)
  flags.DEFINE_integer('seed', 0, 'of the draws', flag_values=fv)
  workdirs = _parse(fv, arguments, 'lmhp generate WORKDIR [--prompt=TEXT]: of a run, or a Hugging Face directory')
  if workdirs is None:
    return 0
  if len(workdirs) != 1:
    raise ConfigError(f'generate: got {len(workdirs)} directories, expected one run\'s')
  from lmhp import api

  print(api.generate(workdirs[0], fv.prompt, n_tokens=fv.n_tokens, temperature=fv.temperature, top_k=fv.top_k,
                     seed=fv.seed))
  return 0


VERBS: dict[str, Callable[[list[str]], int]] = {
    'count': _count, 'train': _train, 'sweep': _sweep, 'report': _report, 'generate': _generate,
    'dashboard': _dashboard}
