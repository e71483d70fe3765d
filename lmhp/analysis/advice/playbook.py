"""The tuning playbook as findings: what a study says of its own space, each with its evidence and a next space.

What claims an effect stands behind a test that holds its level: effects at `effect.LEVEL` for all axes together
(Holm), interactions at `interaction.LEVEL` for all pairs, the winner against the base config at 99%. So a study in which
nothing matters says 'no difference shown', and hardly ever anything else; `bench/calibration_findings.py` counts it.

Source of the advice: Godbole, Dahl, Gilmer, Shallue, Nado, Deep Learning Tuning Playbook (2023); ten points a dimension:
Loeppky, Sacks, Welch 2009, Technometrics 51(4).
"""

from __future__ import annotations

import math
from typing import Any, Mapping, Sequence

import numpy as np

from lmhp.analysis.advice.effects import shown
from lmhp.analysis.curves.divergence import Divergence
from lmhp.analysis.findings import Finding
from lmhp.analysis.hyperparameters.effects import LEVEL as EFFECT_LEVEL
from lmhp.analysis.hyperparameters.effects import Effect
from lmhp.analysis.hyperparameters.optimum import Optimum
from lmhp.analysis.hyperparameters.surface import axis_of
from lmhp.analysis.phrases import amount, at_rung, listed, nats, p_words
from lmhp.analysis.runs.table import SEARCH, Axis, Runs
from lmhp.analysis.winner.answer import BASE, run_of, unit_of
from lmhp.analysis.winner.winner import Winner

POINTS_PER_DIMENSION = 10
INFEASIBLE = 0.10
"""Share of diverged trials from which a space wastes its trials."""
BEST_SHARE, END = 0.1, 0.25
"""The share of runs that counts as the best, and the share of a range that counts as its end."""
WIDE = 0.4
"""Share of an axis's range below which the worthwhile part makes the rest a waste."""

DECAYS = ('b1', 'b2', 'b3', 'beta1', 'beta2', 'momentum')
SHARES = ('fraction', 'dropout', 'probability')
RATES = ('learning_rate', 'lr')
_STRUCTURE = (
  'model.',
  'optimizer.name',
  'optimizer.b',
  'train.batch_size',
  'train.tokens',
  'train.steps',
  'schedule.',
)


# --- the space ------------------------------------------------------------------------------------------------------


def optimum_at_bound(
  runs: Runs, effects: Sequence[Effect], optima: Mapping[str, Optimum], rung: int | None
) -> list[Finding]:
  """Axes that matter, and whose best value is more likely beyond a bound than within."""
  found = []
  for e in shown(effects):
    axis, optimum = axis_of(runs, e.axis), optima.get(e.axis)
    if (
      optimum is None
      or not optimum.at_bound
      or not _best_are_near(runs, axis, optimum.at_bound)
    ):
      continue
    bound = axis.low if optimum.at_bound == 'low' else axis.high
    proposal = moved(axis, optimum.at_bound)
    if proposal is None:
      continue
    end = optimum.high if optimum.at_bound == 'low' else optimum.low
    found.append(
      Finding(
        'optimum_at_bound',
        'advice',
        f'{e.axis}: the best value is at or beyond the {_end(optimum.at_bound)} bound, '
        f'{amount(bound)}.',
        f'The fitted optimum of {optimum.used} runs is more likely outside than inside; inside, '
        f'its {optimum.confidence:.0%} interval ends at {amount(end)}.{at_rung(rung)}',
        {'bound': bound, 'interval_end': end, 'runs': optimum.used},
        (e.axis,),
        proposal={e.axis: proposal},
        worth=float(np.nan_to_num(e.range_nats)),
      )
    )
  return found


def _best_are_near(runs: Runs, axis: Axis, side: str) -> bool:
  """Whether the best runs themselves lie at that end: a fit may be pulled beyond a bound by what is far from it."""
  used, _ = runs.for_response()
  places = axis.unit(used.values[axis.name])
  order = np.argsort(used.losses, kind='stable')
  best = places[order[np.isfinite(places[order])]][
    : max(3, math.ceil(BEST_SHARE * len(used)))
  ]
  middle = float(np.median(best)) if len(best) else 0.5
  return middle <= END if side == 'low' else middle >= 1 - END


def moved(axis: Axis, side: str) -> dict[str, Any] | None:
  """A range as wide as the axis's, its old bound in the middle, within what the config takes; None if that is no more."""
  shift = -0.5 if side == 'low' else 0.5
  low, high = (float(v) for v in axis.from_unit([shift, 1 + shift]))
  least, most = limits(axis)
  low, high = max(low, least), min(high, most)
  low, high = (
    (round(low), round(high)) if axis.whole else (_rounded(low), _rounded(high))
  )
  if (low >= axis.low) if side == 'low' else (high <= axis.high):
    return None
  return {'low': low, 'high': high, 'log': axis.log}


def limits(axis: Axis) -> tuple[float, float]:
  """What a hyperparameter of such a name can be at all: shares and decays 0 to 1, and nothing changes its sign.

  >>> (
  ...   limits(Axis('schedule.warmup_fraction', low=0.01, high=0.5)),
  ...   limits(Axis('optimizer.b2', low=0.9, high=0.99)),
  ... )
  ((0.0, 1.0), (0.0, 0.9999))
  """
  last = axis.name.rpartition('.')[2]
  if last in DECAYS:
    return 0.0, 0.9999
  if last.endswith(SHARES):
    return 0.0, 1.0
  return (
    1.0 if axis.whole and axis.low >= 1 else 0.0 if axis.low >= 0 else -math.inf
  ), math.inf


def space_too_wide(
  runs: Runs,
  effects: Sequence[Effect],
  optima: Mapping[str, Optimum],
  rung: int | None,
  won: Winner | None,
) -> list[Finding]:
  """The best cube: of axes that matter, the part in which the optimum lies and a basin around it, and the winner.

  Not where responses are read at a rung: the best learning rate of a short run is not that of a long one.
  """
  if rung is not None or won is None:
    return []
  cube, shares = {}, {}
  for e in shown(effects):
    axis, optimum = axis_of(runs, e.axis), optima.get(e.axis)
    if (
      axis.kind != 'number'
      or optimum is None
      or optimum.at_bound
      or not math.isfinite(optimum.value)
    ):
      continue
    low, high = _worthwhile(axis, optimum)
    best = float(runs.values[e.axis][np.flatnonzero(runs.point == won.point)[0]])
    low, high = (
      (min(low, best), max(high, best)) if math.isfinite(best) else (low, high)
    )
    share = float(np.diff(axis.unit([low, high]))[0])
    if (
      0 < share <= WIDE
      and math.isfinite(optimum.low + optimum.high)
      and optimum.low > 0 * axis.log
    ):
      low, high = (
        (math.floor(low), math.ceil(high))
        if axis.whole
        else (_rounded(low), _rounded(high))
      )
      cube[e.axis], shares[e.axis] = {'low': low, 'high': high, 'log': axis.log}, share
  if not cube:
    return []
  volume = float(np.prod(list(shares.values())))
  worth = max(float(np.nan_to_num(e.range_nats)) for e in effects if e.axis in cube)
  words = listed(
    [
      f'{name} {amount(c["low"])} to {amount(c["high"])} ({shares[name]:.0%} of its range)'
      for name, c in cube.items()
    ]
  )
  return [
    Finding(
      'space_too_wide',
      'advice',
      f'The space is wider than it need be: {words}.',
      f'Optimum and the basin where the loss rises by less than {next(iter(optima.values())).share:.0%} lie '
      f'in {volume:.0%} of what was searched, so {1 - volume:.0%} of trials fell where none could win.',
      {'volume': volume, 'shares': shares},
      tuple(cube),
      proposal=cube,
      worth=worth,
    )
  ]


def _worthwhile(axis: Axis, optimum: Optimum) -> tuple[float, float]:
  """Interval and basin of an optimum together, within the axis's range."""
  below, above = optimum.basin_low[0], optimum.basin_high[0]
  low = optimum.value / below if axis.log else optimum.value - below
  high = optimum.value * above if axis.log else optimum.value + above
  return max(min(low, optimum.low), axis.low), min(max(high, optimum.high), axis.high)


def infeasible(runs: Runs, stable: Divergence) -> list[Finding]:
  """More diverged trials than a space should have, and where."""
  if not stable.low > INFEASIBLE:
    return []
  cut = next((c for c in stable.cuts if c.p_value <= EFFECT_LEVEL), None)
  where, proposal = '', {}
  if cut is not None:
    here = {'above': 'at or above', 'below': 'at or below'}.get(cut.side, cut.side)
    value = (
      amount(cut.threshold)
      if isinstance(cut.threshold, (int, float))
      else str(cut.threshold)
    )
    where = (
      f' Of those with {cut.axis} {here} {value}, {cut.diverged} of {cut.runs} diverged; of the others '
      f'{cut.other_diverged} of {cut.other_runs} ({p_words(cut.p_value)}).'
    )
    axis = axis_of(runs, cut.axis)
    if axis.kind == 'number' and cut.side in ('above', 'below'):
      own = {'low': axis.low, 'high': axis.high, 'log': axis.log}
      proposal = {
        cut.axis: own
        | (
          {'high': _rounded(cut.threshold)}
          if cut.side == 'above'
          else {'low': _rounded(cut.threshold)}
        )
      }
  return [
    Finding(
      'infeasible_share',
      'warning',
      f'{stable.diverged} of {stable.runs} trials diverged '
      f'({stable.share:.0%}, {stable.confidence:.0%} interval {stable.low:.0%} to {stable.high:.0%}).',
      'A space of which more than a tenth diverges wastes trials.' + where,
      {
        'diverged': stable.diverged,
        'trials': stable.runs,
        'low': stable.low,
        'high': stable.high,
      },
      (cut.axis,) if cut else (),
      proposal=proposal,
    )
  ]


# --- the design -----------------------------------------------------------------------------------------------------


def nuisance_fixed(runs: Runs) -> list[Finding]:
  """Structure was compared at one learning rate, which each structure should have had its own of."""
  varied = runs.varied()
  if any(name.rpartition('.')[2] in RATES for name in varied) or not runs.about.get(
    'base'
  ):
    return []
  asked = [
    name
    for name, axis in varied.items()
    if name.startswith(_STRUCTURE) and axis.role != 'nuisance'
  ]
  if not asked:
    return []
  rate = runs.about['base'].get('optimizer.learning_rate', math.nan)
  return [
    Finding(
      'nuisance_fixed',
      'warning',
      f'The learning rate was the same for every {listed(asked)}.',
      'The best learning rate moves with these, so the comparison favours whatever suits '
      f'{amount(rate)}. Vary it too, as a nuisance.',
      {'learning_rate': rate},
      tuple(asked),
      proposal={
        'optimizer.learning_rate': {
          'low': _rounded(rate / 10),
          'high': _rounded(rate * 10),
          'log': True,
        }
      }
      if rate > 0
      else {},
    )
  ]


def too_few_trials(
  runs: Runs, expected_gain: tuple[float, float] | None = None
) -> list[Finding]:
  """Fewer points than ten for each dimension."""
  varied, points = runs.varied(), len(np.unique(runs.point[runs.cohort == SEARCH]))
  wants = POINTS_PER_DIMENSION * len(varied)
  if not varied or points >= wants:
    return []
  gain = ''
  if expected_gain is not None and math.isfinite(expected_gain[0]):
    gain = f' Twice as many are expected to find {nats(expected_gain[0], unit_of(runs))} less.'
  return [
    Finding(
      'too_few_trials',
      'advice',
      f'{points} points for {len(varied)} hyperparameters are few: '
      f'{wants} would be {POINTS_PER_DIMENSION} a dimension.',
      'With fewer, effects and optima are seldom told from chance.' + gain,
      {'points': points, 'dimensions': len(varied), 'wanted': wants},
      tuple(varied),
    )
  ]


def within_noise(runs: Runs, won: Winner | None) -> list[Finding]:
  """Other points that the noise from seed to seed does not tell from the winner."""
  if won is None or not math.isfinite(won.noise) or not math.isfinite(won.runner_up):
    return []
  error = won.noise * math.sqrt(2 / won.n_seeds)
  done = runs.complete()
  means = {
    p: float(done.losses[rows].mean()) for p, rows in done.points().items() if p != BASE
  }
  near = sorted(
    (p for p, m in means.items() if p != won.point and m - won.mean < 2 * error),
    key=means.get,
  )
  if not near:
    return []
  numbers = [run_of(runs, p) for p in near[:5]]
  more = [f'{len(near) - 5} more'] if len(near) > 5 else []
  return [
    Finding(
      'winner_within_noise',
      'note',
      f'{len(near)} other {"point is" if len(near) == 1 else "points are"} '
      f'within the noise of the winner.',
      f'Two points of {won.n_seeds} seed{"s" * (won.n_seeds > 1)} each '
      f'differ by {nats(2 * error, unit_of(runs))} by chance alone; nearer are trials '
      f'{listed([str(n) for n in numbers] + more)}. Choose among them by cost.',
      {'noise': won.noise, 'points': len(near)},
      runs=(run_of(runs, won.point), *numbers),
    )
  ]


def not_confirmed(runs: Runs, won: Winner | None) -> list[Finding]:
  """The winner's loss has no interval, or none that a fresh seed has checked."""
  if won is None or won.n_points < 2 or won.method == 'fresh seeds':
    return []
  return [
    Finding(
      'not_confirmed',
      'warning',
      'The winner was not run again on fresh seeds.',
      'The best of many is partly the luckiest, and on a fresh seed worse than the study shows. '
      + won.reason[:1].upper()
      + won.reason[1:]
      + '.',
      {'points': won.n_points},
      runs=(run_of(runs, won.point),),
    )
  ]


def unequal_amounts(
  runs: Runs, words: str, spans: Mapping[str, tuple[float, float]], same: bool
) -> list[Finding]:
  """Runs were compared although nothing was equal between them, and nobody said so on purpose."""
  if not spans or same or runs.about.get('match_budget') is not None:
    return []
  return [
    Finding(
      'nothing_held_equal',
      'warning',
      'Runs had different amounts of everything that is recorded.',
      words,
      {name: list(span) for name, span in spans.items()},
    )
  ]


# --- words ---------------------------------------------------------------------------------------------------------


def next_space(findings: Sequence[Finding]) -> dict[str, dict[str, Any]]:
  """What all findings propose, {axis: range}; of two for one axis that of the finding ranked first."""
  space: dict[str, dict[str, Any]] = {}
  for one in findings:
    for axis, proposal in one.proposal.items():
      space.setdefault(axis, dict(proposal))
  return space


def _end(side: str) -> str:
  return 'lower' if side == 'low' else 'upper'


def _rounded(value: float, digits: int = 2) -> float:
  """To two significant digits.

  >>> _rounded(0.00123456), _rounded(3.0)
  (0.0012, 3.0)
  """
  return float(f'{value:.{digits}g}') if math.isfinite(value) else value
