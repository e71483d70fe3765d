"""The command `lmhp count`."""

from __future__ import annotations

import json
import sys

from lmhp.commands.flags import CommandParser, number
from lmhp.errors import ConfigError
from lmhp.typing import JSON


def count(arguments: list[str]) -> int:
  """Prints the FLOPs, memory, time and cost of models, and their parameters of each kind."""
  parser = CommandParser(
    'count',
    'Count parameters, FLOPs, memory, time and cost of a model before training.',
  )
  parser.add_argument(
    'target',
    nargs='*',
    help='name or Hugging Face id of a preset, or path of an experiment file, of a Hugging '
    'Face config.json or of its directory',
  )
  parser.add_switch(
    'json',
    False,
    'print a JSON list of objects, one for each target; the object of a target that cannot be '
    'counted has the key error',
  )
  parser.add_argument(
    '--seq_len',
    type=number(1, kind=int),
    help="tokens in a sequence; by default each model's context",
  )
  parser.add_argument(
    '--batch_size',
    type=number(1, kind=int),
    help='sequences in a step; adds the memory of training to the output, as an estimate',
  )
  parser.add_switch(
    'compiled',
    False,
    'compile one update for this machine, and read its memory from the program; needs '
    '--batch_size',
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
  from lmhp.counting.console import print_table
  from lmhp.counting.description import ModelDescription
  from lmhp.experiment import describe_target

  # A target that cannot be counted does not end the table of the others.
  descriptions: list[ModelDescription] = []
  objects: list[dict[str, JSON]] = []
  errors: list[str] = []
  for target in values.target:
    try:
      description = describe_target(
        target,
        seq_len=values.seq_len,
        batch_size=values.batch_size,
        compiled=values.compiled,
        device=values.device,
        utilization=values.utilization,
        tokens=values.tokens,
      )
    except ConfigError as error:
      errors.append(str(error))
      objects.append({'name': target, 'error': str(error)})
    else:
      descriptions.append(description)
      objects.append(description.to_json())

  if values.json:
    print(json.dumps(objects, indent=2))
  elif descriptions:
    print_table(descriptions)
  for error in errors:
    print(f'lmhp: {error}', file=sys.stderr)
  return 2 if errors else 0
