"""Population-based training: the worst members copy the best, and change what they copied.

A population is a group of trials, its members, that train together. At an exchange, the worst
members are replaced by changed copies of the best. Exchanges are numbered from 0. A slot is the
index of a member in the population. Each random number depends only on (seed, exchange, slot,
name of the parameter). So an exchange that is repeated after a kill gives the same result, and
a parameter that is added leaves the random numbers of the others unchanged.

Source: Jaderberg et al. 2017, arXiv:1711.09846: truncation selection, and perturb or resample
(section 4, appendix A).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
import math

from lmhp.declarations import static
from lmhp.errors import ConfigError
from lmhp.renamed_keys import stream_name
from lmhp.sections import keys, keys_of
from lmhp.sweeping.search.designs import Design
from lmhp.sweeping.search.method import (
  Exchange,
  PopulationRules,
  PopulationState,
  SearchMethod,
  SearchState,
)
from lmhp.sweeping.search.quasi_random import key_of, random
from lmhp.sweeping.space import (
  Parameter,
  Point,
  Space,
  Value,
  parameters,
  paths_of,
)

PERTURBATION_FACTORS = (0.8, 1.25)
"""Factors by one of which a copied value is multiplied. Both are equally likely."""

RESAMPLE_PROBABILITY = 0.25
"""Probability that a new value is drawn from the domain instead of multiplying the copied one."""


@keys
class PopulationKeys:
  """Keys of population-based training."""

  population_size: int = static(
    16, 'number of members of the population (search=pbt)', low=2
  )
  pbt_interval_fraction: float = static(
    0.05,
    'interval between two exchanges of the population (search=pbt)',
    unit='fraction of training',
    low=0.0,
    open_low=True,
    high=1.0,
    # {key of Ray Tune: formula that an error message shows to the user}.
    converted_aliases={'perturbation_interval': 'perturbation_interval / train.steps'},
  )
  pbt_replaced_fraction: float = static(
    0.2,
    'fraction of the members that an exchange replaces by copies of the best members '
    '(search=pbt)',
    low=0.0,
    open_low=True,
    high=0.5,
    aliases=('quantile_fraction',),
    source='arXiv:1711.09846 appendix A',
  )


def exploit(
  scores: Sequence[float], fraction: float, seed: int, exchange: int
) -> tuple[int, ...]:
  """Chooses, for each member, the member from whose state it continues.

  The worst members copy random ones of the best. Their number is `fraction` of all members, but
  at least one and at most half. There are as many best members, or fewer if fewer have a finite
  score. A member whose score is not finite has diverged. Diverged members are always replaced,
  unless all have diverged. Of members with equal scores, the one in the lower slot is better.

  Args:
    scores: Score of each slot. Lower is better.
    fraction: Fraction of the members to replace, above 0 and at most 1/2.
    seed: Seed of the search.
    exchange: Number of the exchange, from 0.

  Returns:
    For each slot its own number, or the number of the slot that it copies.

  >>> exploit([3.0, 1.0, 2.0, 4.0, 5.0], 0.2, seed=0, exchange=0)
  (0, 1, 2, 3, 1)
  """
  n_slots = len(scores)
  finite = [math.isfinite(score) for score in scores]

  def rank(slot: int) -> tuple[bool, float, int]:
    # Finite scores first, the lowest at the front. Ties go to the lower slot.
    return (not finite[slot], scores[slot] if finite[slot] else 0.0, slot)

  # Choose the slots to replace and the slots to copy.
  ranked = sorted(range(n_slots), key=rank)
  # At least one, and at most half of the slots.
  n_replaced = min(max(1, math.floor(fraction * n_slots + 0.5)), n_slots // 2)
  # Only slots with a finite score are copied. Without one, no slot is replaced below.
  best = ranked[: max(1, min(n_replaced, sum(finite)))]
  replaced: set[int] = set()
  if any(finite):
    replaced.update(ranked[n_slots - n_replaced :])
    replaced.update(slot for slot in range(n_slots) if not finite[slot])

  # Each replaced slot copies a random one of the best.
  parents = list(range(n_slots))
  for slot in replaced:
    uniform = _uniform_numbers(seed, 'pbt exploit', exchange, slot)[0]
    parents[slot] = best[int(uniform * len(best))]
  return tuple(parents)


def explore(
  values: Mapping[str, Value],
  parameters: Sequence[Parameter],
  seed: int,
  exchange: int,
  slot: int,
  resample_probability: float = RESAMPLE_PROBABILITY,
) -> dict[str, Value]:
  """Returns the values with which a replaced member continues.

  With a probability of 1/4, a new value is drawn from the domain. Otherwise, the copied value
  changes as follows:

  - A Float is multiplied by 0.8 or 1.25, also on a linear scale, and clipped to its domain. So
    a Float of 0 stays 0.
  - An Int is multiplied in the same way and rounded. It changes by at least 1.
  - A Choice of numbers takes the next greater or smaller number of the list.
  - A Choice of words does not change.

  Args:
    values: {parameter name: value} of the member that was copied.
    parameters: Parameters of the space. They have no conditions.
    seed: Seed of the search.
    exchange: Number of the exchange, from 0.
    slot: Slot of the replaced member.
    resample_probability: Probability that a new value is drawn from the domain.
  """
  new = {}
  for parameter in parameters:
    name = parameter.name
    domain = parameter.domain
    # `stream_name` is the old name of a renamed key, so that its random numbers stay the same.
    uniform, unit_value, factor_uniform = _uniform_numbers(
      seed, 'pbt', exchange, slot, stream_name(name)
    )
    if uniform < resample_probability:
      new[name] = domain.value_at(unit_value)
    else:
      index = int(factor_uniform * len(PERTURBATION_FACTORS))
      new[name] = domain.perturbed(values[name], PERTURBATION_FACTORS[index])
  return new


def _uniform_numbers(seed: int, *names: object) -> list[float]:
  """Returns three random numbers in [0, 1), the same for the same seed and names."""
  return random(key_of(seed, *map(str, names)), 0, 3).tolist()


# --- search method --------------------------------------------------------------------


def _exchange(state: PopulationState) -> Exchange:
  fraction = keys_of(state.sweep, PopulationKeys).pbt_replaced_fraction
  parents = exploit(state.scores, fraction, state.seed, state.exchange)
  # A member that copies another one changes the values that it copied.
  values = [
    state.values[slot]
    if parent == slot
    else explore(
      state.values[parent], state.parameters, state.seed, state.exchange, slot
    )
    for slot, parent in enumerate(parents)
  ]
  return Exchange(parents, tuple(values))


def _propose(state: SearchState, n_points: int) -> list[Point]:
  """Returns the points with which the members start."""
  return Design(state.space, 'random', state.seed).points(0, n_points)


def _check_space(space: Space, is_traced: Callable[[str], bool]) -> None:
  for path in sorted(paths_of(space)):
    if not is_traced(path):
      raise ConfigError(
        f'{path}: got a key that cannot change during training, expected only keys that can '
        'change in the space of population-based training'
      )
  for parameter in parameters(space):
    if len(parameter.paths) != 1 or parameter.condition is not None:
      raise ConfigError(
        f'sweep.space: got {parameter.name} with a condition or in a Zip or Chain, expected '
        'paths without conditions, each with its domain, for search=pbt'
      )


PBT = SearchMethod(
  propose=_propose,
  keys=PopulationKeys,
  n_points=lambda sweep, space: keys_of(sweep, PopulationKeys).population_size,
  check_space=_check_space,
  population=PopulationRules(
    interval_fraction=lambda sweep: (
      keys_of(sweep, PopulationKeys).pbt_interval_fraction
    ),
    exchange=_exchange,
  ),
)
