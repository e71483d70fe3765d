"""What was held equal is read off the runs, and said."""

import numpy as np
import pytest

from lmhp.analysis.runs.table import Runs
from lmhp.analysis.winner.matched_budget import describe_matched_budget, in_words


def runs_of(about=None, status=None, **measured):
  n = len(next(iter(measured.values()), [1.0, 2.0, 3.0]))
  return Runs(
    'x',
    {},
    {},
    np.arange(1.0, n + 1),
    status=None if status is None else np.array(status),
    measured={k: np.array(v, float) for k, v in measured.items()},
    about=about or {},
  )


@pytest.mark.parametrize(
  'runs, words',
  [
    (
      runs_of(),
      'What the runs had the same amount of (steps, tokens, FLOPs, time) is not recorded.',
    ),
    (
      runs_of(steps=[600, 600], tokens=[1228800, 1228800]),
      'Runs are compared at equal steps (600) and tokens (1,228,800).',
    ),
    (
      runs_of(steps=[600, 300], tokens=[9600, 9600], seconds=[3, 9]),
      'Runs are compared at equal tokens (9,600); their steps differ (300 to 600).',
    ),
    (
      runs_of(
        about={'match_budget': 'seconds'}, steps=[600, 300], seconds=[10.0, 10.5]
      ),
      'Runs are compared at equal seconds (10); their steps differ (300 to 600).',
    ),
    (
      runs_of(flops=[1.0e15, 2.0e15]),
      'Runs had no equal amount of anything recorded: their FLOPs differ (1e15 to 2e15).',
    ),
  ],
)
def test_in_words(runs, words):
  assert in_words(runs) == words


def test_only_runs_that_came_to_their_end_count():
  runs = runs_of(status=['complete', 'pruned', 'complete'], steps=[9, 3, 9])
  assert describe_matched_budget(runs) == {'steps': (9.0, 9.0)}
