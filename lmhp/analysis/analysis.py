"""Analysis of a study: all results that a report shows, each computed when it is first read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
import functools
import math

import numpy as np

from lmhp.analysis.advice.batch_size import BatchSizeAnalysis, analyze_batch_size
import lmhp.analysis.advice.rules  # noqa: F401  registers the rules of lmhp
from lmhp.analysis.advice.transfer import SIZES, SizedOptima, optima_at_size
from lmhp.analysis.curves.divergence import Divergence, find_divergence
from lmhp.analysis.curves.overfitting import Evaluations, evaluations_of_runs
from lmhp.analysis.findings import FINDINGS, Finding, FindingRule, ranked
from lmhp.analysis.hyperparameters.contours import Contour, contour
from lmhp.analysis.hyperparameters.effects import Effect, effects
from lmhp.analysis.hyperparameters.importances import Importance, importance
from lmhp.analysis.hyperparameters.interactions import Interaction, interactions
from lmhp.analysis.hyperparameters.isolations import Isolation, isolation
from lmhp.analysis.hyperparameters.optimum import Optimum
from lmhp.analysis.hyperparameters.optuna_evaluators import METHODS, is_installed
from lmhp.analysis.hyperparameters.parameter_kinds import KindEffects, effects_by_kind
from lmhp.analysis.hyperparameters.responses import Response, response
from lmhp.analysis.hyperparameters.surface import Surface, fit_surface
from lmhp.analysis.runs.table import Runs
from lmhp.analysis.scaling.laws import MIN_RUNS, ScalingLaw, fit_scaling_law
from lmhp.analysis.winner.best_of_n_curve import BestOfN, best_of_n
from lmhp.analysis.winner.doubling_gain import DoublingGain, gain_of_doubling
from lmhp.analysis.winner.main_group import best_of_each_size, in_main_group
from lmhp.analysis.winner.matched_budget import (
  BudgetRange,
  budget_ranges,
  describe_budgets,
)
from lmhp.analysis.winner.rung_agreement import (
  RungAgreement,
  RungScores,
  rung_agreement,
  rung_scores,
)
from lmhp.analysis.winner.sampling_error import SamplingError, sampling_error
from lmhp.analysis.winner.setting_differences import (
  SettingDifference,
  setting_differences,
)
from lmhp.analysis.winner.winner import Winner, confirm, find_winner
from lmhp.errors import ConfigError, suggest
from lmhp.registry import load_installed_plugins
from lmhp.statistics.confirmation import Confirmation

MAX_AXES = 8
"""Number of axes with a figure of their own. If there are more, those with the smallest
p-values are shown."""
MAX_CONTOURS = 3
MAX_COUNTS = 200
"""Numbers of trials on the best-of-n curve."""
MIN_BLOCK = 8
"""Smallest number of runs of one size whose best values enter a law over sizes."""
INDEPENDENT_SEARCHES = ('random', 'halton', 'sobol')
"""Searches whose trials are draws from one distribution, as the best-of-n curve assumes."""


class Analysis:
  """Results of one study. Each is computed when it is first read, and then kept.

  A result is None or empty if the study does not support it. A finding or figure names the
  results that it needs.

  Args:
    runs: Table of runs.
    seed: Seed of all resampling, so that the same runs give the same report.
  """

  def __init__(self, runs: Runs, seed: int = 0):
    self.runs = runs
    self.seed = seed

  def results(self, names: Sequence[str]) -> dict[str, object]:
    """Returns results by name.

    Args:
      names: Names of attributes of this class.

    Raises:
      ConfigError: If there is no such result.
    """
    for name in names:
      if name not in RESULTS:
        raise ConfigError(
          f'needs: got {name!r}, expected one of {", ".join(RESULTS)}'
          f'{suggest(name, RESULTS)}'
        )
    return {name: getattr(self, name) for name in names}

  # --- findings -------------------------------------------------------------------------

  @functools.cached_property
  def findings(self) -> list[Finding]:
    """Findings of all registered rules, ranked. The first is the answer."""
    return self._evaluate(FINDINGS.values())

  @functools.cached_property
  def findings_of_single_run(self) -> list[Finding]:
    """Findings of the rules that apply to a single run, ranked."""
    return self._evaluate(rule for rule in FINDINGS.values() if rule.for_single_run)

  def _evaluate(self, rules: Iterable[FindingRule]) -> list[Finding]:
    findings: list[Finding] = []
    for rule in rules:
      findings += rule.rule(**self.results(rule.needs))
    return ranked(findings)

  @property
  def answer(self) -> Finding:
    """The finding that answers the study."""
    return next(finding for finding in self.findings if finding.level == 'answer')

  # --- winner ---------------------------------------------------------------------------

  @functools.cached_property
  def budgets(self) -> Mapping[str, BudgetRange]:
    """Range of each recorded budget of the complete runs."""
    return budget_ranges(self.runs)

  @functools.cached_property
  def budget_sentence(self) -> str:
    """One sentence that states which budgets are equal."""
    return describe_budgets(self.runs)

  @functools.cached_property
  def winner(self) -> Winner | None:
    """Best point of the search."""
    return find_winner(self.runs)

  @functools.cached_property
  def confirmation(self) -> Confirmation | None:
    """The winner and the base config on fresh seeds."""
    return None if self.winner is None else confirm(self.runs, self.winner.point)

  @functools.cached_property
  def differences(self) -> list[SettingDifference]:
    """Differences between the winner and the other settings of its size."""
    if self.winner is None:
      return []
    return setting_differences(self.runs, self.winner.point)

  @functools.cached_property
  def sampling_error(self) -> SamplingError | None:
    """Sampling error of the winner's rate. None if the objective is none over few items."""
    if self.winner is None:
      return None
    return sampling_error(self.runs, self.runs.to_objective(self.winner.mean))

  @functools.cached_property
  def best_of_n(self) -> BestOfN | None:
    """Best of n trials. None if the trials are not independent draws."""
    losses = self._independent_losses
    if losses is None:
      return None
    is_loss = self.runs.objective_name.endswith('loss_nats')
    support = (0.0 if is_loss else -math.inf, math.inf)
    # Numbers of trials in even ratios, if there are many.
    counts = np.unique(np.geomspace(1, len(losses), MAX_COUNTS).round().astype(int))
    return best_of_n(
      losses, None if len(losses) <= MAX_COUNTS else counts, support=support
    )

  @functools.cached_property
  def doubling_gain(self) -> DoublingGain | None:
    """Gain to expect from twice as many trials. None if they are not independent draws."""
    losses = self._independent_losses
    return None if losses is None else gain_of_doubling(losses)

  @functools.cached_property
  def _independent_losses(self) -> np.ndarray | None:
    """Mean loss of each point, if the points are independent draws and none was pruned."""
    runs = self.runs
    search = runs.facts.search
    finished = runs.finished_runs()
    if (
      (search and search not in INDEPENDENT_SEARCHES)
      or np.any(runs.search_runs().status == 'pruned')
      or len(finished) < 2
    ):
      return None
    # A run that diverged is worse than any other.
    losses = np.where(finished.status == 'diverged', math.inf, finished.losses)
    means = [losses[rows].mean() for rows in finished.rows_by_point().values()]
    has_enough = len(means) > 1 and np.isfinite(means).any()
    return np.array(means) if has_enough else None

  @functools.cached_property
  def rung_agreement(self) -> list[RungAgreement]:
    """Agreement of the order of runs at each rung with their order at the end."""
    return rung_agreement(self.runs)

  @functools.cached_property
  def rung_scores(self) -> list[RungScores]:
    """Scores at each rung, and final objectives of the same runs."""
    return rung_scores(self.runs)

  # --- hyperparameters ------------------------------------------------------------------

  @functools.cached_property
  def _comparable(self) -> tuple[Runs, int | None]:
    return self.runs.comparable_runs()

  @property
  def comparable_runs(self) -> Runs:
    """Runs that effects and responses are computed from. See `Runs.comparable_runs`."""
    return self._comparable[0]

  @property
  def rung(self) -> int | None:
    """Step at which these runs are compared. None stands for the end of training."""
    return self._comparable[1]

  @functools.cached_property
  def effects(self) -> list[Effect]:
    """Effect of each varied axis, the smallest p-value first."""
    return effects(self.runs)

  @functools.cached_property
  def interactions(self) -> list[Interaction]:
    """Interactions of pairs of axes, the smallest p-value first."""
    return interactions(self.runs, self.effects)

  @functools.cached_property
  def _surface(self) -> Surface | None:
    """Gaussian process over all axes. None with too few runs, or if nothing was varied."""
    try:
      return fit_surface(self.comparable_runs, seed=self.seed)
    except ConfigError:
      return None

  @functools.cached_property
  def _shown_axes(self) -> list[str]:
    return [effect.axis for effect in self.effects][:MAX_AXES]

  @functools.cached_property
  def responses(self) -> list[Response]:
    """Responses of the axes that have a figure, in the order of their effects."""
    return [
      response(self.runs, axis, self._surface, seed=self.seed)
      for axis in self._shown_axes
    ]

  @functools.cached_property
  def optima(self) -> Mapping[str, Optimum]:
    """Fitted optimum of each axis with a significant effect, by name."""
    significant = {effect.axis for effect in self.effects if effect.significant()}
    return {
      one.axis.name: one.optimum
      for one in self.responses
      if one.axis.name in significant
    }

  @functools.cached_property
  def sized_optima(self) -> list[SizedOptima]:
    """Best values in each block of runs of equal size that is large enough."""
    search = self.runs.search_runs()
    blocks = search.blocks()
    numbers, counts = np.unique(blocks, return_counts=True)
    if len(numbers) < 2 or not set(SIZES) & set(search.sizes):
      return []
    groups = []
    for block in numbers[counts >= MIN_BLOCK]:
      analysis = Analysis(search.select(blocks == block), self.seed)
      groups.append(optima_at_size(analysis.runs, analysis.optima))
    return groups

  @functools.cached_property
  def isolations(self) -> list[Isolation]:
    """Best loss over the other axes, for each scientific axis that has a figure."""
    return [
      isolation(self.runs, axis, self._surface, seed=self.seed)
      for axis in self._shown_axes
      if self.runs.axes[axis].role == 'scientific'
    ]

  @functools.cached_property
  def learning_rate_isolation(self) -> Isolation | None:
    """Best loss at each learning rate. None if the learning rate was not varied."""
    name = self.divergence.learning_rate
    axis = self.runs.varied_axes().get(name)
    if axis is None or axis.is_choice or not self.runs.curves:
      return None
    return isolation(self.runs, name, self._surface, seed=self.seed)

  @functools.cached_property
  def contours(self) -> list[Contour]:
    """Fitted loss over pairs that interact, or else over the two numbers of largest effect."""
    surface = self._surface
    if surface is None:
      return []
    significant = [one.axes for one in self.interactions if one.significant()]
    pairs = [
      axes for axes in significant[:MAX_CONTOURS] if set(axes) <= set(surface.axes)
    ]
    if not pairs:
      names = [effect.axis for effect in self.effects if effect.axis in surface.axes]
      numbers = [name for name in names if self.runs.axes[name].is_number]
      pairs = list(zip(numbers[:1], numbers[1:]))
    return [contour(self.runs, a, b, surface=surface, seed=self.seed) for a, b in pairs]

  @functools.cached_property
  def importances(self) -> list[Importance]:
    """Importances by PED-ANOVA, and by fANOVA if scikit-learn is installed."""
    return [
      importance(self.runs, method, seed=self.seed)
      for method in METHODS
      if is_installed(method)
    ]

  @functools.cached_property
  def kind_effects(self) -> KindEffects | None:
    """Effects of parameters by kind. None if their numbers are unknown."""
    if not any(name.startswith('parameters_') for name in self.runs.measured):
      return None
    kind_effects = effects_by_kind(self.runs)
    return kind_effects if kind_effects.kinds else None

  # --- curves and sizes -----------------------------------------------------------------

  @functools.cached_property
  def divergence(self) -> Divergence:
    """Fraction of runs that diverged, and the cuts that explain it."""
    return find_divergence(self.runs, seed=self.seed)

  @functools.cached_property
  def curve_runs(self) -> Runs:
    """The table of all runs, with the curves of those that started and logged rows."""
    return self.runs.with_usable_curves()

  @functools.cached_property
  def evaluations(self) -> list[Evaluations]:
    """Evaluations of the runs that have enough of them."""
    return evaluations_of_runs(self.curve_runs)

  @functools.cached_property
  def batch_size(self) -> BatchSizeAnalysis:
    """Gradient noise scale and critical batch size."""
    return analyze_batch_size(self.runs)

  @functools.cached_property
  def scaling_law(self) -> ScalingLaw | None:
    """Scaling law of runs that differ in size and tokens. None if there are too few."""
    complete = self.runs.complete_runs()
    complete = complete.select(in_main_group(complete))
    complete = best_of_each_size(complete)
    unknown = np.full(len(complete), math.nan)
    sizes = complete.measured.get('parameters', unknown)
    tokens = complete.measured.get('tokens', unknown)
    # An exponent needs three sizes, and three lengths.
    n_different = min(len(np.unique(sizes)), len(np.unique(tokens)))
    if self.runs.maximize or n_different < 3 or len(complete) < MIN_RUNS:
      return None
    try:
      return fit_scaling_law(sizes, tokens, complete.losses)
    except ConfigError:
      return None


RESULTS = (
  'runs',
  'seed',
  *(
    name
    for name, attribute in vars(Analysis).items()
    if isinstance(attribute, (property, functools.cached_property))
    and not name.startswith('_')
  ),
)
"""Names of the results that a finding or figure can need."""


def analyze(runs: Runs, *, seed: int = 0) -> Analysis:
  """Analyzes a table of runs.

  Findings and figures of installed plugins are loaded first.

  Args:
    runs: Table of runs.
    seed: Seed of all resampling, so that the same runs give the same report.

  >>> from lmhp.analysis.runs.axis import Axis
  >>> rng = np.random.default_rng(0)
  >>> rates = 10.0 ** rng.uniform(-4, -2, 40)
  >>> losses = 3 + 0.2 * np.log10(rates / 1e-3) ** 2 + 0.01 * rng.standard_normal(40)
  >>> axes = {'lr': Axis('lr', low=1e-4, high=1e-2, log=True)}
  >>> analysis = analyze(Runs('a study', axes, {'lr': rates}, losses))
  >>> analysis.answer.kind
  'best_trial'
  >>> [finding.kind for finding in analysis.findings if finding.level == 'note']
  ['significant_effect']
  """
  load_installed_plugins()
  return Analysis(runs, seed)
