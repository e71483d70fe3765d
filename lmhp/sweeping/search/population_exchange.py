"""Population-based training: at each exchange the worst copy the best, and change what they copied.

A slot is a member's place in the population; what trains there changes hands. All draws are keyed by (seed, round,
slot, name), so that an exchange that is done again after a kill gives the same, and a parameter more leaves those of
the others as they were.

Source: Jaderberg et al. 2017, arXiv:1711.09846: truncation selection, and perturb or resample (section 4, appendix A).
"""

from __future__ import annotations

import math
from typing import Any, Iterable, Mapping, Sequence

from lmhp.renamed_keys import stream_name
from lmhp.sweeping.search.quasi_random import key_of, random
from lmhp.sweeping.space.compiled_space import Parameter, holds
from lmhp.sweeping.space.domains import (
  Choice,
  Domain,
  Float,
  from_unit,
  is_number,
  round_to_significant,
)


def exploit(
  scores: Sequence[float], fraction: float, seed: int, round: int
) -> tuple[int, ...]:
  """The slot that each slot goes on from: itself, or for those that are replaced one of the best.

  The worst `fraction` of all slots copy one of the best `fraction`, at least one slot and at most half of them. What is
  not finite has diverged, is the worst, and is replaced always, unless everything has diverged; ties are by slot.

  Args:
    scores: of each slot, lower is better.
    fraction: replaced at an exchange, above 0, at most 1/2.
    seed: of the search.
    round: number of the exchange.

  >>> exploit([3.0, 1.0, 2.0, 4.0, 5.0], 0.2, seed=0, round=0)
  (0, 1, 2, 3, 1)
  """
  finite = [math.isfinite(score) for score in scores]
  ranked = sorted(
    range(len(scores)),
    key=lambda i: (not finite[i], scores[i] if finite[i] else 0.0, i),
  )
  n = min(max(1, math.floor(fraction * len(scores) + 0.5)), len(scores) // 2)
  best = ranked[: max(1, min(n, sum(finite)))]
  replaced = (
    {*ranked[len(ranked) - n :], *(i for i, good in enumerate(finite) if not good)}
    if any(finite)
    else set()
  )
  drawn = lambda slot: best[
    int(_uniform(seed, 'pbt exploit', round, slot)[0] * len(best))
  ]
  return tuple(drawn(slot) if slot in replaced else slot for slot in range(len(scores)))


def explore(
  values: Mapping[str, Any],
  parameters: Iterable[Parameter],
  seed: int,
  round: int,
  slot: int,
  factors: tuple[float, float] = (0.8, 1.25),
  resample_probability: float = 0.25,
) -> dict[str, Any]:
  """The values that a replaced member goes on with.

  Each value is drawn anew from its domain with `resample_probability`. Otherwise a Float is multiplied by one of the
  factors, on a log scale or not, and clipped to its domain; an Int likewise, and moves by one at least; a Choice of
  numbers takes the next greater or smaller one; words have no neighbours and stay. A Float of 0 leaves it only when
  drawn anew.

  Where a Choice changes, what no longer exists is dropped, and what begins to exist is drawn.

  Args:
    values: of the member that was copied, by parameter name.
    parameters: of the space, parents before children; what is not among them stays as it is.
    seed: of the search.
    round: number of the exchange.
    slot: of the replaced member.
    factors: one below 1, one above; equally likely.
    resample_probability: of each parameter.
  """
  parameters = tuple(parameters)
  known = {parameter.name for parameter in parameters}
  new = {name: value for name, value in values.items() if name not in known}
  for parameter in parameters:
    if not holds(parameter.condition or (), new):
      continue
    name, domain = parameter.name, parameter.domain
    anew, where, which = _uniform(seed, 'pbt', round, slot, stream_name(name))
    if name not in values or anew < resample_probability:
      new[name] = from_unit(domain, where)
    else:
      new[name] = _perturbed(domain, values[name], factors[int(which * len(factors))])
  return new


def _perturbed(domain: Domain, value: Any, factor: float) -> Any:
  """A value near another in its domain, above it where the factor is above 1 (and the value is)."""
  if isinstance(domain, Choice):
    if not all(map(is_number, domain.values)):
      return value
    ordered = sorted(domain.values)
    place = ordered.index(value) + (1 if factor > 1 else -1)
    return ordered[min(max(place, 0), len(ordered) - 1)]
  moved = round_to_significant(value * factor)
  if not isinstance(domain, Float):
    moved = math.floor(moved + 0.5)
    if moved == value:
      moved += 1 if factor > 1 else -1
  return min(max(moved, domain.low), domain.high)


def lineage(parents_by_round: Sequence[Sequence[int]]) -> list[tuple[int, ...]]:
  """Where each final slot's state was trained.

  Args:
    parents_by_round: what :func:`exploit` said, in order.

  Returns:
    For each slot, the slot it was in before the first exchange, between each two, and after the last (itself).

  >>> lineage([(0, 0, 2), (0, 2, 2)])
  [(0, 0, 0), (2, 2, 1), (2, 2, 2)]
  """
  if not parents_by_round:
    return []
  slots = []
  for slot in range(len(parents_by_round[-1])):
    came = [slot]
    for parents in reversed(parents_by_round):
      came.append(parents[came[-1]])
    slots.append(tuple(reversed(came)))
  return slots


def _uniform(seed: int, *names: Any) -> list[float]:
  """Three numbers in [0, 1) of their own for a seed and names, by sha256."""
  return random(key_of(seed, *map(str, names)), 0, 3).tolist()
