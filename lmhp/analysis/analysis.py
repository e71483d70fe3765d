"""Everything that is said of one study, in one pass: what the report, its Markdown and its JSON are made from."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, Mapping, Sequence

import numpy as np

from lmhp.analysis.advice import effects as effect_findings
from lmhp.analysis.advice import playbook
from lmhp.analysis.advice.batch_size import Batches, batch_findings, batches
from lmhp.analysis.advice.curves import curve_findings
from lmhp.analysis.advice.learning_rate import rate_findings
from lmhp.analysis.curves.divergence import Divergence, find_divergence
from lmhp.analysis.findings import Finding, ranked
from lmhp.analysis.hyperparameters.contours import Contour, contour
from lmhp.analysis.hyperparameters.effects import Effect, effects
from lmhp.analysis.hyperparameters.importances import METHODS, Importance, importance
from lmhp.analysis.hyperparameters.interactions import Interaction, interactions
from lmhp.analysis.hyperparameters.isolations import Isolation, isolation
from lmhp.analysis.hyperparameters.parameter_kinds import Kinds, loss_by_kind
from lmhp.analysis.hyperparameters.responses import Response, response
from lmhp.analysis.hyperparameters.surface import Surface, fit_surface
from lmhp.analysis.phrases import amount, listed, nats, p_words, setting
from lmhp.analysis.runs.table import Runs
from lmhp.analysis.scaling.laws import ScalingLaw, fit_scaling_law
from lmhp.analysis.winner import answer
from lmhp.analysis.winner import matched_budget as match_budget
from lmhp.analysis.winner.answer import Confirmation
from lmhp.analysis.winner.trial_count import (
  BestOfN,
  EnoughTrials,
  best_of_n,
  enough_trials,
)
from lmhp.analysis.winner.winner import Winner
from lmhp.errors import ConfigError

MOST_AXES = 8
"""Axes that have a picture each: of more, those with the surest effects."""
INDEPENDENT = ('random', 'halton', 'sobol')
"""Searches whose trials are draws of one distribution, which the best-of-n curve takes them for."""


@dataclasses.dataclass(frozen=True)
class Analysis:
  """What is said of a study. What cannot be said is None or empty, and a finding or a `reason` says why.

  Attributes:
    runs: the table.
    match_budget: one sentence: what the runs had the same amount of.
    rung: the step at which responses are read where most runs were stopped early; None is their end.
    won: the best point.
    confirmed: the winner and the base config, seed by seed.
    effects: of each axis.
    interactions: of pairs of axes.
    responses: of the axes that have a picture, in the order of their effects.
    isolations: of the scientific axes among them.
    contours: of pairs that interact, or of the two that matter most.
    importances: PED-ANOVA, and fANOVA where scikit-learn is there.
    curve: best of n trials; None of a search whose trials are not independent draws.
    enough: what twice as many would bring; None like `curve`.
    stability: how many diverged, and where.
    batches: the gradient noise scale and the critical batch size, where runs say something of them.
    kinds: what parameters of each kind bought; None where sizes are not known.
    law: of runs that differ in size and tokens; None where there are too few.
    findings: ranked; the first is the answer.
  """

  runs: Runs
  match_budget: str
  rung: int | None
  won: Winner | None
  confirmed: Confirmation | None
  effects: Sequence[Effect]
  interactions: Sequence[Interaction]
  responses: Sequence[Response]
  isolations: Sequence[Isolation]
  contours: Sequence[Contour]
  importances: Sequence[Importance]
  curve: BestOfN | None
  enough: EnoughTrials | None
  stability: Divergence
  batches: Batches
  kinds: Kinds | None
  law: ScalingLaw | None
  findings: Sequence[Finding]

  @property
  def answer(self) -> Finding:
    """The finding that answers the study."""
    return next(f for f in self.findings if f.level == 'answer')


def analyze(runs: Runs, *, pictures: bool = True, seed: int = 0) -> Analysis:
  """Analyzes a table of runs.

  Args:
    runs: the table.
    pictures: whether what is only drawn (slices, isolations, contours, importances) is computed too; findings are the
      same without.
    seed: of all resampling, so that the same runs give the same words.

  >>> rng = np.random.default_rng(0)
  >>> from lmhp.analysis.runs.table import Axis
  >>> rates = 10.0 ** rng.uniform(-4, -2, 40)
  >>> losses = 3 + 0.2 * np.log10(rates / 1e-3) ** 2 + 0.01 * rng.standard_normal(40)
  >>> study = Runs(
  ...   'a study',
  ...   {'lr': Axis('lr', low=1e-4, high=1e-2, log=True)},
  ...   {'lr': rates},
  ...   losses,
  ... )
  >>> found = analyze(study, pictures=False)
  >>> found.answer.kind, [f.kind for f in found.findings if f.level == 'note']
  ('differences_shown', ['matters'])
  """
  used, rung = runs.for_response()
  won = answer.winner(runs)
  confirmed = None if won is None else answer.confirmation(runs, won.point)
  found = effects(runs, seed) if len(used) else []
  pairs = interactions(runs, seed, found) if len(used) else []
  surface = _surface(used, seed)
  names = [e.axis for e in found][:MOST_AXES]
  responses = [
    response(runs, name, surface, seed=seed)
    for name in names
    if pictures or next(e for e in found if e.axis == name).shown()
  ]
  stable = find_divergence(runs, seed=seed)
  curve, enough = _best_of_n(runs)
  parts = dict(
    runs=runs,
    match_budget=match_budget.in_words(runs),
    rung=rung,
    won=won,
    confirmed=confirmed,
    effects=found,
    interactions=pairs,
    responses=responses,
    curve=curve,
    enough=enough,
    stability=stable,
    batches=batches(runs),
    kinds=_kinds(runs),
    law=_law(runs),
    isolations=[],
    contours=[],
    importances=[],
  )
  if pictures:
    parts['isolations'] = [
      isolation(runs, n, surface, seed=seed)
      for n in names
      if runs.axes[n].role == 'scientific'
    ]
    parts['contours'] = _contours(runs, found, pairs, surface, seed)
    parts['importances'] = _importances(runs, seed)
  return Analysis(**parts, findings=ranked(_findings(parts)))


def _findings(parts: Mapping[str, Any]) -> list[Finding]:
  runs, won, found, enough = (
    parts['runs'],
    parts['won'],
    parts['effects'],
    parts['enough'],
  )
  spans = match_budget.describe_matched_budget(runs)
  same = any(match_budget.equal(span, name) for name, span in spans.items())
  optima = {one.axis.name: one.optimum for one in parts['responses']}
  gain = None if enough is None else (enough.gain, enough.high)
  return [
    answer.finding(runs, won, parts['confirmed'], found),
    *playbook.unequal_amounts(runs, parts['match_budget'], spans, same),
    *playbook.not_confirmed(runs, won),
    *playbook.nuisance_fixed(runs),
    *playbook.infeasible(runs, parts['stability']),
    *rate_findings(
      runs, _best_of_rates(runs, parts['stability'].rate), parts['stability']
    ),
    *playbook.optimum_at_bound(runs, found, optima, parts['rung']),
    *playbook.space_too_wide(runs, found, optima, parts['rung'], won),
    *playbook.too_few_trials(runs, gain),
    *playbook.within_noise(runs, won),
    *effect_findings.matters(runs, found, parts['rung']),
    *effect_findings.useless(runs, found),
    *effect_findings.interacting(runs, parts['interactions']),
    *effect_findings.kinds_that_bought(runs, parts['kinds']),
    *batch_findings(parts['batches']),
    *curve_findings(runs),
  ]


def _best_of_rates(runs: Runs, rate: str) -> Isolation | None:
  return (
    isolation(runs, rate)
    if rate in runs.varied() and runs.axes[rate].kind == 'number' and runs.curves
    else None
  )


def _surface(used: Runs, seed: int) -> Surface | None:
  try:
    return fit_surface(used, seed=seed)
  except ConfigError:  # too few runs, or nothing varied: responses say so
    return None


def _best_of_n(runs: Runs) -> tuple[BestOfN | None, EnoughTrials | None]:
  """Of searches that drew their trials independently, and stopped none of them."""
  search = runs.about.get('sweep', {}).get('search')
  done = runs.ended()
  if (
    (search is not None and search not in INDEPENDENT)
    or np.any(runs.searched().status == 'pruned')
    or len(done) < 2
  ):
    return None, None
  losses = np.where(done.status == 'diverged', math.inf, done.losses)
  means = np.array([losses[rows].mean() for rows in done.points().values()])
  if not np.isfinite(means).any() or len(means) < 2:
    return None, None
  support = (
    (0.0, math.inf)
    if runs.objective_name.endswith('loss_nats')
    else (-math.inf, math.inf)
  )
  return best_of_n(means, support=support), enough_trials(means)


def _contours(
  runs: Runs,
  found: Sequence[Effect],
  pairs: Sequence[Interaction],
  surface: Surface | None,
  seed: int,
) -> list[Contour]:
  """Of the pairs that are shown to interact, at most three; else of the two axes that matter most."""
  if surface is None:
    return []
  asked = [p.axes for p in pairs if p.shown()][:3]
  names = [
    e.axis
    for e in found
    if e.axis in surface.axes and runs.axes[e.axis].kind == 'number'
  ]
  asked = [axes for axes in asked if set(axes) <= set(surface.axes)] or (
    [tuple(names[:2])] if len(names) > 1 else []
  )
  return [contour(runs, *axes, surface=surface, seed=seed) for axes in asked]


def _importances(runs: Runs, seed: int) -> list[Importance]:
  found = []
  for method in METHODS:
    try:
      found.append(importance(runs, method, seed=seed))
    except ConfigError:  # fANOVA without scikit-learn: the other says enough
      continue
  return found


def _kinds(runs: Runs) -> Kinds | None:
  if not any(name.startswith('parameters_') for name in runs.measured):
    return None
  found = loss_by_kind(runs)
  return found if found.kinds else None


def _law(runs: Runs) -> ScalingLaw | None:
  done = runs.complete()
  sizes, tokens = (
    done.measured.get(name, np.full(len(done), math.nan))
    for name in ('parameters', 'tokens')
  )
  if (
    runs.maximize
    or len(np.unique(sizes)) < 3
    or len(np.unique(tokens)) < 3
    or len(done) < 6
  ):
    return None
  try:
    return fit_scaling_law(sizes, tokens, done.losses)
  except ConfigError:
    return None


def sentences(found: Analysis) -> list[str]:
  """The answer in three sentences: what was compared, what was found, what to do next."""
  runs = found.runs
  n, axes = len(np.unique(runs.point[runs.cohort == 'search'])), list(runs.varied())
  compared = f'{n} {"point" if n == 1 else "points"}'
  if axes:
    compared += (
      ' of '
      + ', '.join(axes[:4])
      + (f' and {len(axes) - 4} more' if len(axes) > 4 else '')
    )
  first = f'{found.match_budget[:-1]}: {compared}, judged by {runs.objective_name}.'
  return [first, _second(found), _third(found)]


def _second(found: Analysis) -> str:
  won, said, unit = (
    found.won,
    found.answer,
    'nats' if found.runs.objective_name.endswith('_nats') else '',
  )
  if won is None:
    return said.title
  shown = found.runs.shown
  if math.isfinite(won.low):
    low, high = sorted((shown(won.low), shown(won.high)))
    return (
      f'{said.title[:-1]}; on a fresh seed expect {amount(shown(won.expected))} {unit}'.rstrip()
      + f' ({won.confidence:.0%} interval {amount(low)} to {amount(high)}).'
    )
  return f'{said.title[:-1]}; it came to {nats(shown(won.mean), unit)}, and how lucky that was is not known.'


def _third(found: Analysis) -> str:
  space = playbook.next_space(found.findings)
  if space:
    because = next(f.title for f in found.findings if f.proposal)
    return f'Next, search {listed([_range(axis, one) for axis, one in space.items()])}. {because}'
  advice = next((f for f in found.findings if f.level in ('warning', 'advice')), None)
  if advice is not None:
    return advice.title
  tested = [e for e in found.effects if math.isfinite(e.p_holm)]
  if tested and not tested[0].shown():
    return f'No hyperparameter is shown to matter ({p_words(tested[0].p_holm)}); try another space, or more seeds.'
  return 'Nothing here asks for another study of this space.'


def _range(axis: str, proposal: Mapping[str, Any]) -> str:
  if 'choices' in proposal:
    return f'{axis} among {listed([setting(v) for v in proposal["choices"]])}'
  return f'{axis} from {amount(proposal["low"])} to {amount(proposal["high"])}'
