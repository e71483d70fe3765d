"""Paragraphs about the methods of a report, and about its limits."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lmhp.analysis.analysis import Analysis
from lmhp.analysis.hyperparameters.effects import LEVEL as EFFECT_LEVEL
from lmhp.analysis.hyperparameters.effects import N_PERMUTATIONS
from lmhp.analysis.hyperparameters.interactions import LEVEL as INTERACTION_LEVEL
from lmhp.analysis.phrases import counted
from lmhp.analysis.runs.table import SEARCH
from lmhp.statistics.confirmation import CONFIDENCE

NONADAPTIVE_SEARCHES = ('grid', 'random', 'halton', 'sobol')
"""Searches that do not choose points by earlier results."""

OF_CURVES = (
  'Training curves: curves are smoothed before they are judged. The variance between steps is '
  'that of successive differences, so that the trend does not count. The gap is the evaluation '
  'loss minus the training loss at the same step.'
)


def method_paragraphs(analysis: Analysis) -> list[str]:
  """Returns paragraphs that explain how the numbers of a report were computed."""
  paragraphs = [
    'Confidence: estimates have 90% intervals. One config is called better than another if the '
    f'{CONFIDENCE:.0%} interval of their difference does not contain 0. A hyperparameter has a '
    f'significant effect if p ≤ {EFFECT_LEVEL} with Holm correction over all hyperparameters, '
    f'and two interact if p ≤ {INTERACTION_LEVEL} with Holm correction over all pairs.'
  ]
  if analysis.winner is not None:
    paragraphs.append(
      'Winner: the point with the best mean over its seeds. Its expected result on a fresh '
      f'seed: {analysis.winner.reason}. Fresh seeds are independent of the choice. Without '
      'them, the interval is conditional on having won (Andrews, Kitagawa, McCloskey 2024).'
    )
  paragraphs.append(
    'Effects: a permutation test fits a parabola in the hyperparameter (or a level for each '
    'choice), together with parabolas in the others, to the ranks of the objective. It permutes '
    f"the hyperparameter's values across points ({N_PERMUTATIONS:,} times). The gain is the "
    'fitted difference between a typical value and the best one. Curves and contours are '
    'slices of a Gaussian process over all hyperparameters, with the others at their best.'
  )
  if analysis.best_of_n is not None:
    paragraphs.append(
      'Best of n: order statistics with a simultaneous band (Lourie, Cho, He 2023), for trials '
      'that are drawn independently. The mean is the unbiased expected validation performance '
      '(Tang et al. 2020).'
    )
  if analysis.importances:
    paragraphs.append(
      "Importance: Optuna's PED-ANOVA (Watanabe et al. 2023), and fANOVA (Hutter et al. 2014) "
      'if scikit-learn is installed. Objectives are clipped so that bad trials do not '
      'dominate. The p-values come from permutations.'
    )
  if analysis.runs.curves:
    paragraphs.append(OF_CURVES)
  return paragraphs


def caveats(analysis: Analysis) -> list[str]:
  """Returns sentences about the limits of a study's results."""
  runs = analysis.runs
  search = runs.facts.search
  caveat_texts = []
  if search and search not in NONADAPTIVE_SEARCHES:
    caveat_texts.append(
      f'The search ({search}) chose points by earlier results, so p-values of effects are too '
      'small, and there is no best-of-n curve.'
    )
  in_search = runs.cohort == SEARCH
  n_pruned = int(np.sum(in_search & (runs.status == 'pruned')))
  if n_pruned:
    caveat_texts.append(
      f'{n_pruned} of {counted(int(np.sum(in_search)), "trial")} were stopped early. Their '
      'final objective is unknown.'
    )
  if analysis.rung is not None:
    caveat_texts.append(
      f'Trials are compared at step {analysis.rung:,}. The best learning rate, warmup or '
      'schedule of a short run is not that of a long one.'
    )
  if len(np.unique(runs.seed[in_search])) == 1:
    caveat_texts.append('Each point of the search ran with one seed.')
  caveat_texts.append(
    'The results hold for this model size, this amount of data and this search space.'
  )
  return caveat_texts


def caveats_of_several(analyses: Sequence[Analysis]) -> list[str]:
  """Returns the caveats of several studies, each once."""
  sentences = [sentence for analysis in analyses for sentence in caveats(analysis)]
  return list(dict.fromkeys(sentences))
