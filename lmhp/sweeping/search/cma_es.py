"""CMA-ES over the unit cube: each parameter of the space is one number in [0, 1].

Optuna's `CmaEsSampler` is not used. It learns only from trials that it proposed itself, because
it stores the state of the optimizer in them.

Source: Hansen, arXiv:1604.00772.
"""

from __future__ import annotations

import cmaes
import numpy as np
import numpy.typing as npt

from lmhp.sweeping.search.method import SamplerState
from lmhp.sweeping.space import Point

UNIFORM_STD = 12**-0.5
"""Standard deviation of a uniform number in [0, 1], the initial step size of CMA-ES."""


def sample(state: SamplerState) -> list[Point]:
  """Returns one new point for each seed.

  The optimizer is given the results so far, in their order, one generation at a time.

  Args:
    state: Results and seeds. The space has no Choice and no conditions.
  """
  names = [parameter.name for parameter in state.space.parameters]
  # Start in the middle of the cube, with the standard deviation of a uniform distribution.
  optimizer = cmaes.CMA(
    mean=np.full(len(names), 0.5),
    sigma=UNIFORM_STD,
    bounds=np.tile([0.0, 1.0], (len(names), 1)),
  )
  solutions = _solutions(state)
  size = optimizer.population_size
  # Replay the results in whole generations. An incomplete generation at the end is left out.
  for start in range(0, len(solutions) - size + 1, size):
    optimizer.tell(solutions[start : start + size])

  points = []
  for seed in state.seeds:
    # One seed for each point, so that points do not depend on the size of the batch.
    optimizer.reseed_rng(seed)
    unit_values = optimizer.ask().tolist()
    points.append(state.space.point_at(dict(zip(names, unit_values, strict=True))))
  return points


def _solutions(state: SamplerState) -> list[tuple[npt.NDArray[np.float64], float]]:
  """Returns (unit values of the parameters, value to minimize) for each finished point."""
  sign = -1.0 if state.directions[0] == 'maximize' else 1.0
  solutions = []
  for result in state.results:
    unit_values = [
      parameter.domain.unit_value(result.parameters[parameter.name])
      for parameter in state.space.parameters
    ]
    assert result.values is not None  # `point_results` returns finished points only
    solutions.append((np.array(unit_values), sign * result.values[0]))
  return solutions
