"""The input of samplers, which propose points from the results of earlier points.

A point is one assignment of values to the parameters of a space.
"""

from __future__ import annotations

from collections.abc import Mapping
import dataclasses

from lmhp.sweeping.space import CompiledSpace, Value


@dataclasses.dataclass(frozen=True)
class PointResult:
  """Results of a point so far, averaged over its seeds.

  Attributes:
    parameters: {parameter name: value}.
    values: Objectives. A diverged point has finite penalty values. None while it is running.
    scores: {step: first objective}, if the point was pruned.
  """

  parameters: Mapping[str, Value]
  values: tuple[float, ...] | None = None
  scores: Mapping[int, float] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class SamplerState:
  """Input of a sampler.

  Attributes:
    space: Space of the new points.
    results: Results of the points so far, in order.
    directions: 'minimize' or 'maximize' for each objective.
    seeds: One random seed for each new point.
  """

  space: CompiledSpace
  results: tuple[PointResult, ...]
  directions: tuple[str, ...]
  seeds: tuple[int, ...]
