"""The cost of a study in a sentence: tokens, FLOPs, time and price."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from lmhp.analysis.phrases import amount, counted, flops_text, listed
from lmhp.analysis.runs.table import Runs
from lmhp.counting.device import DEVICES, PRICES_AS_OF, Device, normalize_name
from lmhp.statistics.number_format import format_with_unit


def describe_cost(runs: Runs) -> str:
  """Returns a sentence about the cost of all runs. Empty if no cost is recorded.

  The price is that of the device that the study names, if lmhp knows it.

  >>> runs = Runs('s', {}, {}, np.ones(2), measured={'tokens': np.array([1e6, 2e6])})
  >>> describe_cost(runs)
  'The 2 runs took 3 M tokens.'
  """
  costs = []
  # The tokens of a study of lmhp include those of forks that cooled down at a rung.
  spent = runs.measured.get('tokens_spent', runs.measured.get('tokens', 0.0))
  tokens = float(np.nansum(spent))
  if tokens > 0:
    costs.append(f'{format_with_unit(tokens)} tokens')
  flops = float(np.nansum(runs.measured.get('flops', 0.0)))
  if flops > 0:
    costs.append(flops_text(flops))
  hours = float(np.nansum(runs.measured.get('seconds', 0.0))) / 3600
  if hours > 0:
    costs.append(f'{amount(round(hours, 2) or round(hours, 4))} device-hours')
    device = _device(runs.facts.device)
    if device is not None:
      price = hours * device.usd_per_hour
      costs.append(
        f'about {price:,.2f} dollars on a {device.name} (prices of {PRICES_AS_OF})'
      )
  if not costs:
    return ''
  return f'The {counted(len(runs), "run")} took {listed(costs)}.'


def _device(described: object) -> Device | None:
  """Returns the device that a study ran on, if it is one that lmhp has a price for."""
  kind = described.get('kind', '') if isinstance(described, Mapping) else described
  name = normalize_name(kind or '')
  matches = [key for key in DEVICES if key in name.replace('nvidia-', '')]
  return DEVICES[max(matches, key=len)] if matches else None
