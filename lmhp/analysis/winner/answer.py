"""What a study answers: how good its winner is on fresh seeds, and whether it beats what there was.

A claim that one config beats another is made at `CLAIM` (99%), so that claims of a study without any difference are
rare all together; how good a config is has an interval of 90%, as all estimates of `lmhp.analysis` have.

Dimension key: T runs, S seeds.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Sequence

import numpy as np

from lmhp.analysis.findings import Finding
from lmhp.analysis.hyperparameters.effects import Effect
from lmhp.analysis.phrases import amount, listed, nats, p_words
from lmhp.analysis.runs.table import CONFIRM, SEARCH, Runs
from lmhp.analysis.winner.winner import Winner, expected_loss_of_best
from lmhp.statistics.intervals import paired_difference

CLAIM = 0.99
BASE = -1


@dataclasses.dataclass(frozen=True)
class Confirmation:
  """The winner and the base config on seeds that chose neither, pair by pair; less is better.

  Attributes:
    seeds: (S,) the seeds that both were run with.
    winner: (S,) losses.
    base: (S,) losses.
    difference: mean of winner - base; NaN where a seed diverged or there are no pairs.
    low: of its interval.
    high: the other end.
    confidence: of that interval.
    diverged: (winner, base) how many of their seeds diverged.
  """

  seeds: np.ndarray
  winner: np.ndarray
  base: np.ndarray
  difference: float
  low: float
  high: float
  confidence: float
  diverged: tuple[int, int]

  @property
  def verdict(self) -> str:
    """'better', 'worse', or 'no difference shown'; '' where nothing can be said."""
    if self.diverged[0] != self.diverged[1]:
      return (
        'better'
        if self.diverged[0] < self.diverged[1] and len(self.seeds) == self.diverged[1]
        else ''
      )
    if not math.isfinite(self.low):
      return ''
    return (
      'better' if self.high < 0 else 'worse' if self.low > 0 else 'no difference shown'
    )


def confirmation(
  runs: Runs, point: int, confidence: float = CLAIM
) -> Confirmation | None:
  """The confirmation of a point, or None where the base config was not run beside it.

  Args:
    runs: a study; of the cohort `CONFIRM` those of the point, and of `BASE`.
    point: which.
    confidence: of the interval of the difference, Student's over pairs.
  """
  own, base = _by_seed(runs, point), _by_seed(runs, BASE)
  seeds = sorted(set(own) & set(base))
  if not seeds:
    return None
  a, b = (np.array([found[seed][0] for seed in seeds]) for found in (own, base))
  bad = tuple(sum(found[seed][1] for seed in seeds) for found in (own, base))
  mean, low, high = (math.nan,) * 3 if any(bad) else paired_difference(a, b, confidence)
  return Confirmation(np.array(seeds), a, b, mean, low, high, confidence, bad)


def _by_seed(runs: Runs, point: int) -> dict[int, tuple[float, bool]]:
  """Loss of each seed that ended, and whether it diverged."""
  rows = np.flatnonzero(
    (runs.cohort == CONFIRM)
    & (runs.point == point)
    & np.isin(runs.status, ('complete', 'diverged'))
  )
  return {
    int(runs.seed[i]): (float(runs.losses[i]), bool(runs.status[i] == 'diverged'))
    for i in rows
  }


def winner(runs: Runs, confidence: float = 0.9) -> Winner | None:
  """The best point of the search and what to expect of it; None where none came to its end.

  Raises:
    ConfigError: `confidence` is not between 0 and 1.
  """
  search = runs.where(
    (runs.cohort == SEARCH) & np.isin(runs.status, ('complete', 'diverged'))
  )
  losses = np.where(search.status == 'complete', search.losses, math.nan)
  if not np.isfinite(losses).any() or not _some_point_whole(search, losses):
    return None
  chosen = expected_loss_of_best(
    losses, search.point, confidence=confidence, seeds=search.seed
  )
  fresh = [loss for loss, _ in _by_seed(runs, chosen.point).values()]
  bad = any(diverged for _, diverged in _by_seed(runs, chosen.point).values())
  if not fresh:
    return chosen
  fresh = (
    np.where([d for _, d in _by_seed(runs, chosen.point).values()], math.inf, fresh)
    if bad
    else fresh
  )
  return expected_loss_of_best(
    losses, search.point, confirm=fresh, confidence=confidence, seeds=search.seed
  )


def _some_point_whole(search: Runs, losses: np.ndarray) -> bool:
  return any(np.isfinite(losses[rows]).all() for rows in search.points().values())


def run_of(runs: Runs, point: int) -> int:
  """Number of the first run of a point in the search."""
  rows = np.flatnonzero((runs.point == point) & (runs.cohort == SEARCH))
  return int(runs.number[rows[0]])


def finding(
  runs: Runs,
  won: Winner | None,
  confirmed: Confirmation | None,
  effects: Sequence[Effect],
) -> Finding:
  """What was found, at one of four levels: nothing finished, no difference shown, worse or better than the base."""
  unit = unit_of(runs)
  if won is None:
    statuses = {s: int(n) for s, n in zip(*np.unique(runs.status, return_counts=True))}
    return Finding(
      'nothing_finished',
      'answer',
      'No trial came to its end yet.',
      listed([f'{n} {s}' for s, n in statuses.items()]) + '.',
      numbers={'statuses': statuses},
    )
  number = run_of(runs, won.point)
  numbers = {
    'trial': number,
    'shown': runs.shown(won.mean),
    'expected': runs.shown(won.expected),
    'low': runs.shown(won.low),
    'high': runs.shown(won.high),
    'confidence': won.confidence,
  }
  own = {'runs': (number,), 'axes': tuple(runs.varied())}
  if (
    confirmed is not None
    and confirmed.verdict in ('better', 'worse')
    and math.isfinite(confirmed.difference)
  ):
    numbers |= {
      'difference': confirmed.difference,
      'difference_low': confirmed.low,
      'difference_high': confirmed.high,
    }
    kind = 'better_than_base' if confirmed.verdict == 'better' else 'worse_than_base'
    return Finding(
      kind,
      'answer',
      f'Trial {number} is {confirmed.verdict} than the base config by '
      f'{nats(abs(confirmed.difference), unit)}.',
      _of_pairs(confirmed, unit),
      numbers,
      **own,
      worth=abs(confirmed.difference),
    )
  if confirmed is not None and confirmed.verdict == 'better':
    return Finding(
      'better_than_base',
      'answer',
      f'Trial {number} trains; the base config diverged on all '
      f'{len(confirmed.seeds)} seeds.',
      '',
      numbers,
      **own,
    )
  shown = [e for e in effects if e.shown()]
  if shown:
    worst = max(shown, key=lambda e: np.nan_to_num(e.range_nats))
    tail = (
      _of_pairs(confirmed, unit)
      if confirmed is not None
      else 'The base config was not run beside the winner.'
    )
    return Finding(
      'differences_shown',
      'answer',
      f'Trial {number} is the best; {listed([e.axis for e in shown])} '
      f'{"matters" if len(shown) == 1 else "matter"}.',
      tail,
      numbers,
      **own,
      worth=float(np.nan_to_num(worst.range_nats)),
    )
  tail = _of_pairs(confirmed, unit) if confirmed is not None else ''
  tested = [e for e in effects if math.isfinite(e.p_value)]
  if tested:
    tail += f' No hyperparameter has an effect that chance would not make ({p_words(min(e.p_holm for e in tested))}, '
    tail += 'the smallest, Holm).'
  elif effects:
    tail += f' Whether a hyperparameter matters cannot be said: {effects[0].reason}.'
  title = f'No difference shown: what made trial {number} the best may be luck.'
  return Finding('no_difference_shown', 'answer', title, tail.strip(), numbers, **own)


def _of_pairs(confirmed: Confirmation, unit: str) -> str:
  n, bad = len(confirmed.seeds), confirmed.diverged
  if any(bad):
    return f'Of {n} fresh seeds the winner diverged on {bad[0]}, the base config on {bad[1]}.'
  if not math.isfinite(confirmed.low):
    return f'{n} fresh seed of both: too few to tell.'
  return (
    f'On the same {n} fresh seeds the winner is {amount(float(np.mean(confirmed.winner)))}, the base config '
    f'{amount(float(np.mean(confirmed.base)))}; the difference is {nats(confirmed.difference, unit)}, '
    f'{confirmed.confidence:.0%} interval {amount(confirmed.low)} to {amount(confirmed.high)}.'
  )


def unit_of(runs: Runs) -> str:
  """The objective's unit in words."""
  return 'nats' if runs.objective_name.endswith('_nats') else ''
