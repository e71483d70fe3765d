"""Parameters of a space as Optuna's distributions."""

from __future__ import annotations

from collections.abc import Iterator
import contextlib
import json
import math
from typing import TypeAlias

import optuna
from optuna.distributions import (
  BaseDistribution,
  CategoricalDistribution,
  FloatDistribution,
  IntDistribution,
  check_distribution_compatibility,
)

from lmhp.files import to_jsonable
from lmhp.sweeping.space import Choice, Float, Parameter

OptunaValue: TypeAlias = 'None | bool | int | float | str'
"""A value that Optuna can store as a choice."""


@contextlib.contextmanager
def quiet_optuna() -> Iterator[None]:
  """Silences Optuna's messages, for example about studies that it creates."""
  verbosity = optuna.logging.get_verbosity()
  optuna.logging.set_verbosity(optuna.logging.ERROR)
  try:
    yield
  finally:
    optuna.logging.set_verbosity(verbosity)


def distribution_of(parameter: Parameter) -> BaseDistribution:
  """Returns the distribution of a parameter's domain."""
  domain = parameter.domain
  if isinstance(domain, Choice):
    return CategoricalDistribution([optuna_value(value) for value in domain.values])
  if isinstance(domain, Float):
    return FloatDistribution(domain.low, domain.high, log=domain.log)
  return IntDistribution(domain.low, domain.high, log=domain.log)


def single_value_distribution(value: object) -> BaseDistribution:
  """Returns a distribution with one value, for a value outside the space."""
  if isinstance(value, float) and math.isfinite(value):
    return FloatDistribution(value, value)
  # In Python, True is an int.
  if isinstance(value, int) and not isinstance(value, bool):
    return IntDistribution(value, value)
  return CategoricalDistribution([optuna_value(value)])


def optuna_value(value: object) -> OptunaValue:
  """Returns a value that Optuna can store. Tuples, NaN and infinity become JSON text."""
  stored = to_jsonable(value)
  return json.dumps(stored) if isinstance(stored, (list, dict)) else stored


def are_compatible(first: BaseDistribution, second: BaseDistribution) -> bool:
  """Returns True if one Optuna parameter may have both distributions."""
  if first is second:
    return True
  try:
    check_distribution_compatibility(first, second)
  except ValueError:
    return False
  return True
