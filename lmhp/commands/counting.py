"""The command `lmhp count`."""

from __future__ import annotations

import json

from lmhp.commands.flags import CommandParser, number
from lmhp.errors import ConfigError


def count(arguments: list[str]) -> int:
  """Prints the FLOPs, memory, time and cost of models, and their parameters of each kind."""
  parser = CommandParser(
    'count',
    'Count parameters, FLOPs, memory, time and cost of a model before training.',
  )
  parser.add_argument(
    'target',
    nargs='*',
    help='name of a preset, or path of an experiment file, of a Hugging Face config.json or '
    'of its directory',
  )
  parser.add_switch('json', False, 'print a JSON list of objects, one for each model')
  parser.add_argument(
    '--seq_len',
    type=number(1, kind=int),
    help="tokens in a sequence; by default each model's context",
  )
  parser.add_argument(
    '--batch_size',
    type=number(1, kind=int),
    help='sequences in a step; adds the memory of the activations to the output',
  )
  parser.add_argument(
    '--device',
    help='name of the device, such as h100; adds time and cost of training to the output',
  )
  parser.add_argument(
    '--utilization',
    type=number(0.0),
    default=0.4,
    help="fraction of the device's peak FLOPs per second that training reaches (default 0.4)",
  )
  parser.add_argument(
    '--tokens',
    type=number(1),
    help='number of training tokens; by default 20 per parameter of the model',
  )
  values = parser.parse(arguments)
  if not values.target:
    raise ConfigError(
      'count: got no target, expected a preset, an experiment file or a config.json'
    )

  # The imports load JAX, which is slow, so they follow the checks of the flags.
  from lmhp import api
  from lmhp.counting.console import print_table
  from lmhp.counting.description import describe

  descriptions = []
  for target in values.target:
    name, cfg = api.model_of(target)
    descriptions.append(
      describe(
        name,
        cfg,
        seq_len=values.seq_len,
        batch_size=values.batch_size,
        device=values.device,
        utilization=values.utilization,
        tokens=values.tokens,
      )
    )
  if values.json:
    print(json.dumps([d.to_json() for d in descriptions], indent=2))
  else:
    print_table(descriptions)
  return 0
