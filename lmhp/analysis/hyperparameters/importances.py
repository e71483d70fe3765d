"""How much each hyperparameter mattered, as Optuna says it, with what chance alone would say beside it.

Importance comes second to effects in nats: a share has no unit, and shares add up to one in noise, too. So each share
has an interval (trials resampled) and a p-value (objectives permuted), and below `MINIMUM_TRIALS` nothing is said.

The two methods answer different questions. 'ped_anova': what had to be right to be among the best trials. 'fanova':
what explains the variance of the objective over the whole space, by a random forest; only its main effects are shown.

Dimension key: T points (the seeds of one point are averaged), A axes.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import math
from typing import Any, Callable, Iterator, Sequence
import warnings

import numpy as np

from lmhp.analysis.runs.table import Axis, Runs
from lmhp.errors import ConfigError

METHODS = ('ped_anova', 'fanova')
MINIMUM_TRIALS = 30
"""Points below which importance is refused. Of `bench/calibration_importance.py`: an axis that matters by 4 times the
noise comes first of 4 in 97% of studies of 30 points; it is shown to matter in 73% of these, and in 94% of those of 40.
"""
LEVEL = 0.05
"""An axis is shown to matter where noise beats its importance in at most this share of permutations."""
TARGET_QUANTILE = 0.25
"""The share of trials that counts as the best; Optuna's own 0.1 leaves 3 of 27 trials, and finds what matters later."""
CLIP_QUANTILE = 0.8
"""Objectives are clipped at this quantile of the complete trials', so that a bad tail does not rule."""
TREES, DEPTH = 32, 5
"""Of fANOVA's forest; a quarter of the trees for each replicate, or 200 trials would take a minute."""
LEVELS_AT_MOST = 10
"""A number that takes no more values than this is a ladder of levels, as in a grid; of more, a range."""


@dataclasses.dataclass(frozen=True)
class Importance:
  """What :func:`importance` found.

  Attributes:
    method: of `METHODS`.
    names: of the axes, the most important first; in the order of the study where refused.
    share: (A,) of the importance of all axes, adds up to 1; NaN where refused or not assessed.
    low: (A,) lower end of the bootstrap interval of `share`.
    high: (A,) upper end.
    p_value: (A,) share of permutations of the objective in which the most important axis beats this one.
    shown: those of `names` whose p-value is at most `LEVEL`: what noise alone would hardly make.
    points: how many points went in.
    clipped_at: the objective at which worse ones, the diverged among them, were clipped.
    clipped: how many points have a run that was.
    confidence: of the interval.
    refused: why nothing is said, '' where something is.
    notes: what else a reader must know.
  """

  method: str
  names: tuple[str, ...]
  share: np.ndarray
  low: np.ndarray
  high: np.ndarray
  p_value: np.ndarray
  shown: tuple[str, ...] = ()
  points: int = 0
  clipped_at: float = math.nan
  clipped: int = 0
  confidence: float = 0.9
  refused: str = ''
  notes: tuple[str, ...] = ()


def importance(
  runs: Runs,
  method: str = 'ped_anova',
  bootstrap: int | None = None,
  permutations: int | None = None,
  seed: int = 0,
  confidence: float = 0.9,
) -> Importance:
  """Importance of each axis that was varied, with its interval, or the reason why none can be said.

  Args:
    runs: of which `Runs.for_response()` is used: those of the search that ended or diverged.
    method: 'ped_anova' (Optuna's `PedAnovaImportanceEvaluator`, at `TARGET_QUANTILE`), or 'fanova' (Optuna's
      `FanovaImportanceEvaluator`, which needs scikit-learn).
    bootstrap: how often points are drawn anew, with replacement; None for 100, or 20 of the slower fANOVA.
    permutations: how often objectives are dealt anew; None for 99, or 19. An adaptive search (TPE) draws its trials by
      the objectives before them, so that they are not quite exchangeable, and p-values are too small.
    seed: of both.
    confidence: of the interval, of what such a share is on average over studies of as many points. It holds the spread
      from trials, and not the bias of the method, whose shares come to even out where trials are few.

  Raises:
    ConfigError: unknown method, or scikit-learn is not installed.

  Source: Watanabe et al. 2023, arXiv 2304.10255 (PED-ANOVA); Hutter et al. 2014 (fANOVA).

  >>> rng = np.random.default_rng(0)
  >>> rates, decays = rng.uniform(-3, 3, 60), rng.uniform(0, 1, 60)
  >>> axes = {'lr': Axis('lr', low=-3, high=3), 'wd': Axis('wd', low=0, high=1)}
  >>> found = importance(Runs('a study', axes, {'lr': rates, 'wd': decays}, rates**2))
  >>> found.names, found.shown
  (('lr', 'wd'), ('lr',))
  """
  if method not in METHODS:
    raise ConfigError(f'method: got {method!r}, expected one of {", ".join(METHODS)}')
  if method == 'fanova':
    _require_scikit_learn()
  ended, _ = runs.for_response()
  axes = ended.varied()
  losses, clip, clipped, first = _points(ended)
  columns = {
    name: _column(axis, ended.values[name][first]) for name, axis in axes.items()
  }
  known = {
    'points': len(losses),
    'clipped_at': runs.shown(clip),
    'clipped': clipped,
    'confidence': confidence,
  }
  refused = _reason_to_refuse(losses, clip, axes)
  if refused:
    nothing = np.full(len(axes), math.nan)
    return Importance(
      method, tuple(axes), nothing, nothing, nothing, nothing, refused=refused, **known
    )
  with _quiet():
    return _assess(
      method, columns, losses, _counts(method, bootstrap, permutations), seed, known
    )


def _counts(
  method: str, bootstrap: int | None, permutations: int | None
) -> tuple[int, int]:
  defaults = (100, 99) if method == 'ped_anova' else (20, 19)
  return tuple(
    default if n is None else n
    for n, default in zip((bootstrap, permutations), defaults)
  )


def _require_scikit_learn() -> None:
  try:
    import sklearn.ensemble  # noqa: F401
  except ImportError:
    raise ConfigError(
      'fanova: needs scikit-learn, which comes with: pip install "lmhp[fanova]"'
    ) from None


# --- what goes in -----------------------------------------------------------------------------------------------------


def _points(ended: Runs) -> tuple[np.ndarray, float, int, np.ndarray]:
  """(T,) mean clipped loss of each point, where it was clipped, how many points were, and a row (T,) of each."""
  complete = ended.losses[ended.status == 'complete']
  clip = float(np.quantile(complete, CLIP_QUANTILE)) if complete.size else math.nan
  bad = (ended.status == 'diverged') | (ended.losses > clip)
  losses = np.where(bad, clip, ended.losses)
  rows = list(ended.points().values())
  means = np.array([losses[r].mean() for r in rows])
  return (
    means,
    clip,
    sum(bool(bad[r].any()) for r in rows),
    np.array([r[0] for r in rows], int),
  )


def _reason_to_refuse(losses: np.ndarray, clip: float, axes: dict[str, Axis]) -> str:
  n = len(losses)
  if not axes:
    return 'no hyperparameter was varied'
  if n < MINIMUM_TRIALS:
    return (
      f'{n} points are too few: below {MINIMUM_TRIALS}, importance is found in noise'
    )
  if np.ptp(losses) == 0:
    return 'all points have the same objective'
  good = int(np.sum(losses < clip))
  if good < math.ceil(TARGET_QUANTILE * n):
    return (
      f'{good} of {n} points are complete and below the clip: fewer than the {TARGET_QUANTILE:.0%} that are '
      'compared'
    )
  return ''


def _column(axis: Axis, values: np.ndarray) -> tuple[Any, list]:
  """Optuna's distribution of an axis, and the points' values in it; None where a point has none.

  Numbers are places on the axis's own scale (a log axis is uniform in the log, which fANOVA alone would not know), and
  the numbers of a grid are its levels 0, 1, 2, ...
  """
  from optuna.distributions import (
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
  )

  if axis.kind == 'choice':
    words = [None if v is None else repr(v) for v in values.tolist()]
    return CategoricalDistribution(sorted({w for w in words if w is not None})), words
  values = np.asarray(values, np.float64)
  if axis.log and np.all(values[np.isfinite(values)] > 0):
    values = np.log(values)
  known = np.isfinite(values)
  levels, places = np.unique(values[known], return_inverse=True)
  column: list = [None] * len(values)
  ladder = len(levels) <= LEVELS_AT_MOST
  scaled = places if ladder else (values[known] - levels[0]) / (levels[-1] - levels[0])
  for i, value in zip(np.flatnonzero(known), scaled.tolist()):
    column[i] = value
  return (
    IntDistribution(0, max(len(levels) - 1, 0)) if ladder else FloatDistribution(0, 1)
  ), column


# --- what comes out ---------------------------------------------------------------------------------------------------


def _assess(
  method: str,
  columns: dict[str, tuple[Any, list]],
  losses: np.ndarray,
  counts: tuple[int, int],
  seed: int,
  known: dict[str, Any],
) -> Importance:
  names, rng = list(columns), np.random.default_rng(seed)
  trials, evaluate = _trials(columns, losses), _evaluator(method, names)
  raw = evaluate(trials, True)
  if not np.nansum(raw) > 0:
    nothing = np.full(len(names), math.nan)
    return Importance(
      method,
      tuple(names),
      nothing,
      nothing,
      nothing,
      nothing,
      **known,
      refused='the best points are spread as all are: no axis has any importance',
    )
  drawn = np.array(
    [
      evaluate([trials[i] for i in rng.integers(0, len(trials), len(trials))], False)
      for _ in range(counts[0])
    ]
  ).reshape(-1, len(names))
  dealt = np.array(
    [
      np.nanmax(evaluate(_with_values(trials, rng.permutation(losses)), False))
      for _ in range(counts[1])
    ]
  )
  again = evaluate(trials, False)  # as precisely as the permutations are
  p_values = np.where(
    np.isnan(raw),
    math.nan,
    (1 + np.sum(dealt[:, None] >= again, axis=0)) / (1 + len(dealt)),
  )
  low, high = _interval(drawn, raw / np.nansum(raw), known['confidence'])
  order = sorted(range(len(names)), key=lambda i: -np.nan_to_num(raw[i], nan=-1))
  skipped = [name for name, value in zip(names, raw) if np.isnan(value)]
  notes = (
    (f'fANOVA leaves out what not all points have: {", ".join(skipped)}',)
    if skipped
    else ()
  )
  return Importance(
    method,
    tuple(names[i] for i in order),
    (raw / np.nansum(raw))[order],
    low[order],
    high[order],
    p_values[order],
    tuple(names[i] for i in order if p_values[i] <= LEVEL),
    notes=notes,
    **known,
  )


def _interval(
  drawn: np.ndarray, own: np.ndarray, confidence: float
) -> tuple[np.ndarray, np.ndarray]:
  """Percentiles of the shares (replicates, A), moved to the study's own (A,); NaN where there are none.

  Points that were drawn twice change the shares as a whole, so that percentiles may leave out the study's own. Moved,
  90% intervals held the average share in 84 to 98% of studies of 30 and 60 trials; reversed ones did in 52 to 68%.
  """
  totals = np.nansum(drawn, axis=1, keepdims=True)
  if not (totals > 0).any():
    return (np.full(drawn.shape[-1], math.nan),) * 2
  shares = drawn[totals[:, 0] > 0] / totals[totals[:, 0] > 0]
  low, middle, high = np.quantile(
    shares, [(1 - confidence) / 2, 0.5, (1 + confidence) / 2], axis=0
  )
  return np.clip(own + low - middle, 0, 1), np.clip(own + high - middle, 0, 1)


def _trials(columns: dict[str, tuple[Any, list]], losses: np.ndarray) -> list:
  """Optuna's trials of an in-memory study; an axis that a point has not is left out of its trial."""
  import optuna

  study = optuna.create_study(storage=optuna.storages.InMemoryStorage())
  for i, loss in enumerate(losses.tolist()):
    own = {
      name: column[i] for name, (_, column) in columns.items() if column[i] is not None
    }
    study.add_trial(
      optuna.trial.create_trial(
        params=own, distributions={name: columns[name][0] for name in own}, value=loss
      )
    )
  return study.get_trials(deepcopy=False)


def _with_values(trials: Sequence, values: np.ndarray) -> list:
  """The same trials with other objectives."""
  copies = [copy.copy(trial) for trial in trials]
  for trial, value in zip(copies, values.tolist()):
    trial.value = value
  return copies


def _evaluator(
  method: str, names: Sequence[str]
) -> Callable[[Sequence, bool], np.ndarray]:
  """A function of trials, and of whether to be precise, that gives (A,) importances, NaN where not assessed."""
  import optuna

  class Sample(optuna.Study):
    """A study of given trials: to add hundreds of trials for each replicate would take most of the time."""

    trials_drawn: Sequence = ()

    def get_trials(self, deepcopy: bool = True, states: Any = None) -> list:
      return list(self.trials_drawn)

  storage = optuna.storages.InMemoryStorage()
  sample = Sample(optuna.create_study(storage=storage).study_name, storage)

  def evaluate(trials: Sequence, precisely: bool) -> np.ndarray:
    sample.trials_drawn = trials
    if method == 'ped_anova':
      found = optuna.importance.PedAnovaImportanceEvaluator(
        target_quantile=TARGET_QUANTILE
      ).evaluate(sample)
    else:
      found = optuna.importance.FanovaImportanceEvaluator(
        n_trees=TREES if precisely else TREES // 4, max_depth=DEPTH, seed=0
      ).evaluate(sample)
    return np.array([found.get(name, math.nan) for name in names], np.float64)

  return evaluate


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
  """Optuna says nothing of studies made, nor of regimes of a conditional axis that a resample left nearly empty."""
  import optuna

  verbosity = optuna.logging.get_verbosity()
  optuna.logging.set_verbosity(optuna.logging.ERROR)
  try:
    with warnings.catch_warnings():
      warnings.filterwarnings(
        'ignore', message='Some regimes for parameter', category=UserWarning
      )
      warnings.filterwarnings(
        'ignore',
        message='Target and region quantiles select the same',
        category=UserWarning,
      )
      yield
  finally:
    optuna.logging.set_verbosity(verbosity)
