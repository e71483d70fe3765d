"""How a report was made, and what it cannot say: its last paragraphs."""

from __future__ import annotations

from typing import Sequence

import numpy as np

from lmhp.analysis.analysis import Analysis
from lmhp.analysis.hyperparameters.effects import LEVEL as EFFECT_LEVEL
from lmhp.analysis.hyperparameters.interactions import LEVEL as INTERACTION_LEVEL
from lmhp.analysis.runs.table import SEARCH
from lmhp.analysis.winner.answer import CLAIM


def paragraphs(found: Analysis) -> list[str]:
  """How each number was found."""
  out = [
    f'Estimates have 90% intervals. A claim that one config beats another is made at {CLAIM:.0%}, that a hyperparameter '
    f'matters at p ≤ {EFFECT_LEVEL} for all of them together (Holm), that two interact at p ≤ '
    f'{INTERACTION_LEVEL}: of 2,000 simulated studies in which nothing mattered, fewer than 5% made any claim.',
  ]
  if found.won is not None:
    out.append(
      f'The winner is the point of the best mean over its seeds. Its expected value on a fresh seed: '
      f'{found.won.reason}. Fresh seeds know nothing of the choice; without them the interval is conditional '
      'on having won (Andrews, Kitagawa, McCloskey 2024).'
    )
  out.append(
    'Effects: the values of a hyperparameter are dealt anew among the points, thousands of times, and a parabola '
    "(or a level for each choice) is fitted beside the others' each time, on ranks of the objective; its worth is "
    'the fitted difference between a typical value and the best one. Curves and contours are slices of a Gaussian '
    'process over all hyperparameters, the others at their best.'
  )
  if found.curve is not None:
    out.append(
      'Best of n: order statistics with a simultaneous band (Lourie, Cho, He 2023), for trials drawn '
      'independently. Expected validation performance is the unbiased mean of the best of n (Tang et al. 2020).'
    )
  if found.importances:
    out.append(
      "Importance: Optuna's PED-ANOVA (Watanabe et al. 2023), and fANOVA (Hutter et al. 2014) where scikit-learn "
      'is installed, objectives clipped so that a bad tail does not rule; p-values by permutation.'
    )
  return out + (of_curves() if found.runs.curves else [])


def of_curves() -> list[str]:
  """How curves are judged."""
  return [
    'Training curves are smoothed before they are judged; step-to-step variance is that of successive differences, '
    'so that the trend does not count. The gap is validation loss minus training loss at the same step.'
  ]


def caveats(found: Analysis) -> list[str]:
  """Why to doubt it."""
  runs, out = found.runs, []
  search = runs.about.get('sweep', {}).get('search')
  if search in ('bayesian', 'tpe', 'auto', 'pbt', 'cmaes', 'gp') or (
    search and search not in _INDEPENDENT
  ):
    out.append(
      f'The search ({search}) chose points by the results before them: p-values of effects are smaller than they '
      'should be, and there is no best-of-n curve.'
    )
  pruned, n = (
    int(np.sum((runs.cohort == SEARCH) & (runs.status == 'pruned'))),
    int(np.sum(runs.cohort == SEARCH)),
  )
  if pruned:
    out.append(
      f'{pruned} of {n} trials were stopped early; what they would have become is not known.'
    )
  if found.rung is not None:
    out.append(
      f'Responses are read at step {found.rung:,}: the best learning rate, warmup or schedule of a short run is not '
      'that of a long one.'
    )
  if len(np.unique(runs.seed[runs.cohort == SEARCH])) == 1:
    out.append('Each point of the search was run with one seed.')
  out.append(
    'What is best here is best at this size, this amount of data and in this space.'
  )
  return out


_INDEPENDENT = ('grid', 'random', 'halton', 'sobol')


def caveats_of_several(found: Sequence[Analysis]) -> list[str]:
  """The caveats of several studies, each once."""
  return list(dict.fromkeys(caveat for one in found for caveat in caveats(one)))
