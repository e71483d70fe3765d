"""The sentence of a report that says what to do next."""

from __future__ import annotations

from collections.abc import Sequence
import math

import numpy as np

from lmhp.analysis.advice.setting_names import describe_point
from lmhp.analysis.findings import Finding, next_space
from lmhp.analysis.phrases import amount, counted, flops_text, listed
from lmhp.analysis.runs.table import Runs
from lmhp.analysis.scaling.laws import ScalingLaw
from lmhp.analysis.winner.sampling_error import SamplingError
from lmhp.analysis.winner.setting_differences import SettingDifference
from lmhp.analysis.winner.winner import Winner

REACH = 10.0
"""Compute of the proposed run of a scaling law, in multiples of the largest run."""
DETECTABLE = 15.7
"""Two settings need this number * (noise / difference)^2 seeds each to show their difference at
p = 0.05 with a probability of 80%. It is 2 (1.96 + 0.84)^2."""
MAX_SEEDS = 50
"""Number of seeds above which two settings count as equal for any use."""


def next_step(
  runs: Runs,
  findings: Sequence[Finding],
  winner: Winner | None,
  differences: Sequence[SettingDifference],
  scaling_law: ScalingLaw | None,
  error: SamplingError | None,
) -> str:
  """Returns what to do next, by the kind of the answer. The answer is the first finding.

  Args:
    runs: Table of runs.
    findings: Findings, ranked.
    winner: Best point of the search. None if no trial is complete.
    differences: Differences between the winner and the other settings.
    scaling_law: Scaling law of the runs, if there is one.
    error: Sampling error of the objective, if it is a rate over few items.
  """
  answer = findings[0]
  space = next_space(findings)
  if space:
    reason = next(finding.title for finding in findings if finding.proposal)
    ranges = listed([f'{axis} {domain.describe()}' for axis, domain in space.items()])
    return f'Next, search {ranges}. {reason}'
  if answer.kind == 'scaling_law' and scaling_law is not None:
    return _largest_run(runs, scaling_law)
  if answer.kind == 'critical_batch_sizes':
    return (
      'Choose the batch size by what costs more. At B, a run needs twice the fewest steps and '
      'twice the fewest examples. At B / 5, it needs 6 times the fewest steps, but only 20% more '
      'than the fewest examples.'
    )
  if answer.kind == 'sizes_alone' and runs.compared_within and not runs.sizes:
    names = listed(list(runs.compared_within))
    return f'To compare settings, run each of them with each {names}, one row per run.'
  if answer.kind == 'sizes_alone':
    return (
      'Next, vary one thing at a time: the tokens at one model size, and the hyperparameters '
      'at one size and one number of tokens.'
    )
  laws = [finding.title for finding in findings if finding.kind == 'power_law']
  if laws:
    return f'For other sizes: {" ".join(laws)}'
  if error is not None and error.spread < 2 * error.standard_error:
    return (
      f'Next, evaluate on more items: {error.n_items:,} cannot show differences as small as '
      'these.'
    )
  if answer.kind == 'best_setting' and winner is not None:
    return _settings_to_repeat(runs, winner, differences)
  advice = [finding for finding in findings if finding.level in ('warning', 'advice')]
  if advice:
    return advice[0].title
  return 'There is no advice for another study of this space.'


def _largest_run(runs: Runs, law: ScalingLaw) -> str:
  """Returns the best size and length at more compute than any run had."""
  complete = runs.complete_runs()
  compute = 6 * complete.measured['parameters'] * complete.measured['tokens']
  flops = REACH * float(np.nanmax(compute))
  best = law.compute_optimal([flops])
  return (
    f'With {flops_text(flops)}, which is {REACH:g} times the largest run, the law has its '
    f'smallest loss, {amount(float(best.losses[0]))}, at {amount(float(best.parameters[0]))} '
    f'parameters and {amount(float(best.tokens[0]))} tokens.'
  )


def _settings_to_repeat(
  runs: Runs, winner: Winner, differences: Sequence[SettingDifference]
) -> str:
  """Returns how to decide between the winner and the settings that may be as good."""
  ties = [each for each in differences if not each.is_significant]
  if not ties:
    return 'Use this setting: every other one is worse beyond the noise between seeds.'
  nearest = ties[0]
  name = describe_point(runs, nearest.point, winner.point)
  ratio = winner.noise_sd / max(nearest.difference, 1e-12)
  n_seeds = DETECTABLE * ratio**2
  if not n_seeds <= MAX_SEEDS:
    return (
      f'The difference to {name} is too small to matter: it would take more than {MAX_SEEDS} '
      'seeds of each to show it.'
    )
  return (
    f'To decide between it and {name}, run each on '
    f'{counted(max(2, math.ceil(n_seeds)), "seed")}.'
  )
