"""The command `lmhp doctor`."""

from __future__ import annotations

import json

from lmhp.commands.flags import CommandParser
from lmhp.errors import ConfigError

MIB = 2**20


def doctor(arguments: list[str]) -> int:
  """Prints devices, versions and caches, and trains a small model as a self-test."""
  parser = CommandParser(
    'doctor',
    'Show devices, versions and caches, and train a small model for a few seconds. '
    'The exit status is 1 if the self-test fails.',
  )
  parser.add_argument('words', nargs='*', help='no arguments')
  parser.add_switch('json', False, 'print a JSON object')
  values = parser.parse(arguments)
  if values is None:
    return 0
  if values.words:
    raise ConfigError(f'doctor: got {values.words[0]!r}, expected no argument')

  from lmhp import api

  diagnosis = api.doctor()
  if values.json:
    print(json.dumps(diagnosis, indent=2))
  else:
    print(_format(diagnosis))
  return 0 if diagnosis['self_test']['passed'] else 1


def _format(diagnosis: dict) -> str:
  device = diagnosis['device']
  lines = [
    f'device: {device["count"]} x {device["kind"]} ({device["platform"]})',
    f'processor: {device["processor"]}, {device["processor_cores"]} cores',
    f'precision of matrix products by default: {diagnosis["dtype"]}',
  ]
  for name, version in diagnosis['versions'].items():
    lines.append(f'  {name} {version or "not installed as a package"}')
  for name, cache in diagnosis['caches'].items():
    size = f'{cache["bytes"] / MIB:,.0f} MiB' if cache['path'] else 'off'
    lines.append(f'{name} cache: {cache["path"] or ""} {size}'.replace(':  ', ': '))

  test = diagnosis['self_test']
  verdict = 'passed' if test['passed'] else 'FAILED'
  lines.append(
    f'self-test {verdict} in {test["seconds"]:.1f} s: loss {test["first_loss_nats"]:.3f} to '
    f'{test["last_loss_nats"]:.3f} nats in {test["steps"]} steps; two runs with one seed '
    f'{"are equal bit for bit" if test["repeatable"] else "DIFFER"}'
  )
  return '\n'.join(lines)
