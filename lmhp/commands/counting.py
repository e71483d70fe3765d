"""The command `lmhp count`."""

from __future__ import annotations

import json

from lmhp.commands.flags import parse


def count(arguments: list[str]) -> int:
  from absl import flags

  from lmhp.errors import ConfigError

  fv = flags.FlagValues()
  flags.DEFINE_bool('json', False, 'print a list of JSON objects', flag_values=fv)
  flags.DEFINE_integer(
    'seq_len',
    None,
    'tokens in a sequence; the context of each model where not given',
    1,
    flag_values=fv,
  )
  flags.DEFINE_integer(
    'batch_size', None, 'sequences in a step: adds the activations', 1, flag_values=fv
  )
  flags.DEFINE_string(
    'device', None, 'hardware: adds time and cost of training', flag_values=fv
  )
  flags.DEFINE_float(
    'utilization',
    0.4,
    "share of the device's peak that training reaches",
    0.0,
    flag_values=fv,
  )
  flags.DEFINE_float(
    'tokens',
    None,
    'training tokens; 20 for each parameter where not given',
    1,
    flag_values=fv,
  )
  targets = parse(
    fv,
    arguments,
    'lmhp count TARGET...: a preset, an experiment file, or a Hugging Face config.json',
  )
  if targets is None:
    return 0
  if not targets:
    raise ConfigError(
      'count: got no target, expected a preset, an experiment file or a config.json'
    )
  from lmhp import api
  from lmhp.counting.console import table

  reports = [
    api.count(
      t,
      seq_len=fv.seq_len,
      batch_size=fv.batch_size,
      device=fv.device,
      utilization=fv.utilization,
      tokens=fv.tokens,
    )
    for t in targets
  ]
  if fv.json:
    print(json.dumps(reports, indent=2))
  else:
    table(reports)
  return 0
