"""Search methods: the interface by which a study chooses its points.

A point is one assignment of values to the parameters of a space. A search chooses points in
cohorts. A cohort is a set of points that are chosen at one time: all points of a grid or of a
random search, or a batch that a Bayesian search proposes after the earlier cohorts have ended.
A method is a `SearchMethod`. Its functions are pure, so a study that was killed calls them
again and gets the same points.

`register_search` in `lmhp.sweeping.config` adds a method.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
import dataclasses
import importlib.util

from lmhp.errors import ConfigError
from lmhp.registry import Registry
from lmhp.sections import Section
from lmhp.sweeping.space import CompiledSpace, Parameter, Point, Space, Value
from lmhp.sweeping.store.trial import Trial


@dataclasses.dataclass(frozen=True)
class SearchState:
  """State of a study before a search method chooses points.

  Attributes:
    sweep: Config of the sweep. `lmhp.sections.keys_of` returns the keys of one method.
    space: Space of the new points.
    seed: Seed of the search.
    directions: 'minimize' or 'maximize' for each objective.
    n_planned: Number of points that the budget allows in total.
    first_point: Number of the next point. Points with lower numbers are in earlier cohorts.
    trials: Trials of earlier points. Parameters that were added to the space after a trial
      have the values of the base config in it.
    n_drawn: Number of points that were proposed for the earlier cohorts. Points that are not
      valid, or that repeat other points, are proposed but not trained.
    earlier_spaces: Spaces of the earlier cohorts of the method that chooses the points now, in
      order. Cohorts of another method (such as 'halton' before 'tpe') are left out.
  """

  sweep: Section
  space: Space
  seed: int
  directions: tuple[str, ...] = ('minimize',)
  n_planned: int = 0
  first_point: int = 0
  n_drawn: int = 0
  trials: tuple[Trial, ...] = ()
  earlier_spaces: tuple[Space, ...] = ()


@dataclasses.dataclass(frozen=True)
class CohortPlan:
  """The next cohort of a search.

  Attributes:
    method: Name of the method that proposes the points.
    n_points: Number of points, or 0 if the search needs no more points.
  """

  method: str
  n_points: int


@dataclasses.dataclass(frozen=True)
class PointResult:
  """Results of a point so far, averaged over its seeds.

  Attributes:
    parameters: {parameter name: value}.
    values: Objectives at the end of training, or at the last rung of a pruned point. None while
      the point is running. A diverged point has penalty values instead, which are finite.
    scores: {step of a rung: first objective there} of a pruned point. Empty for other points.
  """

  parameters: Mapping[str, Value]
  values: tuple[float, ...] | None = None
  scores: Mapping[int, float] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class SamplerState:
  """Input of a sampler, which proposes points from the results of earlier points.

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


@dataclasses.dataclass(frozen=True)
class PopulationState:
  """State of a population before an exchange.

  A population is a group of trials, its members, that train together. At an exchange, bad
  members copy the states and values of good members.

  Attributes:
    sweep: Config of the sweep.
    parameters: Parameters of the space.
    seed: Seed of the search.
    exchange: Number of the exchange, from 0.
    scores: Score of each member. Lower is better, and infinity means divergence.
    values: {parameter name: value} of each member.
  """

  sweep: Section
  parameters: tuple[Parameter, ...]
  seed: int
  exchange: int
  scores: tuple[float, ...]
  values: tuple[Mapping[str, Value], ...]


@dataclasses.dataclass(frozen=True)
class Exchange:
  """Result of an exchange between the members of a population.

  Attributes:
    parents: For each member, the index of the member from whose state it continues.
    values: For each member, {parameter name: value} until the next exchange.
  """

  parents: tuple[int, ...]
  values: tuple[Mapping[str, Value], ...]


@dataclasses.dataclass(frozen=True)
class PopulationRules:
  """Rules of a method in which the trials of a population exchange states and values.

  Attributes:
    interval_fraction: Function from the config of the sweep to the interval between two
      exchanges, as a fraction of training.
    exchange: Function that decides one exchange.
  """

  interval_fraction: Callable[[Section], float]
  exchange: Callable[[PopulationState], Exchange]


@dataclasses.dataclass(frozen=True)
class SearchMethod:
  """One way to choose the points of a study.

  Attributes:
    propose: `propose(state, n_points)` returns new points. If the process is killed, the next
      process calls it again, and it must return the same points.
    next_cohort: Function that plans the next cohort. None if this method proposes all points
      in one cohort.
    keys: Keys that the method adds to the section `sweep`, a class made by
      `lmhp.sections.keys`. None if it has none.
    changeable_keys: Names of the keys whose values may change when a study is extended.
    n_points: Function from the config of the sweep and the space to the number of points.
      None if the budget of the sweep sets the number.
    check_space: `check_space(space, is_traced)` raises a ConfigError if the method cannot
      search a space. `is_traced` returns True for a path that may change while a trial runs.
    max_objectives: Largest number of objectives that the method can optimize together.
    depends_on_results: If True, the points depend on results of earlier trials, and a point
      that cannot be trained becomes a failed trial. If False, all points are known at the
      start, and a point that cannot be trained is left out.
    extends: True if `propose(state, n)` begins with the points of `propose(state, m)` for m < n,
      and can propose more points than the search needs.
    population: Rules of a method whose members train together. None for independent trials.
    packages: {name of a package that the method needs: command that installs it}.
  """

  propose: Callable[[SearchState, int], list[Point]]
  next_cohort: Callable[[SearchState], CohortPlan] | None = None
  keys: type | None = None
  changeable_keys: tuple[str, ...] = ()
  n_points: Callable[[Section, Space], int] | None = None
  check_space: Callable[[Space, Callable[[str], bool]], None] | None = None
  max_objectives: int = 2
  depends_on_results: bool = False
  extends: bool = False
  population: PopulationRules | None = None
  packages: Mapping[str, str] = dataclasses.field(default_factory=dict)


SEARCH_METHODS: Registry[SearchMethod] = Registry('search method')
"""All search methods by name. The name is a value of the key `sweep.search`."""


def changeable_keys() -> set[str]:
  """Returns the keys, of all methods, whose values may change when a study is extended."""
  return set().union(*[method.changeable_keys for method in SEARCH_METHODS.values()])


def next_cohort(name: str, state: SearchState) -> CohortPlan:
  """Returns the next cohort of a search.

  Args:
    name: Name of the search method.
    state: State of the study.
  """
  method = SEARCH_METHODS[name]
  if method.next_cohort is not None:
    return method.next_cohort(state)
  return CohortPlan(name, max(0, state.n_planned - state.first_point))


def with_base_values(
  trial: Trial,
  all_parameters: Iterable[Parameter],
  base_values: Mapping[str, object],
) -> Trial:
  """Returns a trial that also has values for parameters that were added to the space later.

  An added parameter gets the base config's value, with which the trial was trained. A parameter
  stays missing if it has a condition, sets several paths (Zip) or none (Chain), or if the value
  of the base config is not in its domain.

  Args:
    trial: The trial.
    all_parameters: Parameters of the space.
    base_values: {dotted path: value} of the base config.
  """
  missing: dict[str, object] = {}
  for parameter in all_parameters:
    is_simple = parameter.condition is None and len(parameter.paths) == 1
    if parameter.name not in trial.parameters and is_simple:
      value = base_values[parameter.paths[0]]
      if value in parameter.domain:
        missing[parameter.name] = value
  return dataclasses.replace(trial, parameters={**missing, **trial.parameters})


def check_search(name: str, space: Space, is_traced: Callable[[str], bool]) -> None:
  """Checks that a search method can search a space on this machine.

  Args:
    name: Name of the search method.
    space: Space of the sweep.
    is_traced: Function that returns True for a path that may change while a trial runs.

  Raises:
    ConfigError: If a package is missing, or the method cannot search the space.
  """
  method = SEARCH_METHODS[name]
  for package, command in method.packages.items():
    if importlib.util.find_spec(package) is None:
      raise ConfigError(
        f'sweep.search: got {name!r}, which needs the package {package}; install it with: '
        f'{command}'
      )
  if method.check_space is not None:
    method.check_space(space, is_traced)


def preview_points(name: str, state: SearchState, n_points: int) -> list[Point]:
  """Returns points for an estimate of the cost of a search.

  The points are those of the first cohort. If the method needs results to choose points, points
  of a Halton sequence are returned instead.

  Args:
    name: Name of the search method.
    state: State of a study without trials.
    n_points: Largest number of points.
  """
  method = SEARCH_METHODS[next_cohort(name, state).method]
  if method.depends_on_results:
    method = SEARCH_METHODS['halton']
  return method.propose(state, n_points)[:n_points]
