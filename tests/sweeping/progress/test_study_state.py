"""The speed, the time left and the ranks of a running study, computed by hand."""

import dataclasses

import pytest

from lmhp.sweeping.progress.study_state import StudyState


@pytest.fixture
def state(study):
  """A study of six trials of 20 steps."""
  state = StudyState(study.sweep(), 's')
  state.start(study.plan(), study.trials(6))
  return state


def test_the_first_pack_is_timed_after_its_compilation(state, study, clock):
  pack = study.pack(range(3))
  state.start_pack(pack)
  clock.seconds += 100
  state.update_pack(pack, 4, study.losses(3, 3, 3))
  assert state.seconds_left() is None
  assert state.summary() == '0/6 trials'
  clock.seconds += 8
  state.update_pack(pack, 20, study.losses(2, 2, 2))
  # 16 updates of 3 members in 8 seconds. 60 of the 120 updates are left.
  assert state.steps_per_second() == 6
  assert state.seconds_left() == 10
  assert state.summary().split('  ')[1:] == ['6 steps/s', '0:10 left']


def test_the_scoring_of_the_first_pack_is_not_timed(state, study, clock):
  pack = study.pack(range(3))
  state.start_pack(pack)
  state.update_pack(pack, 4, study.losses(3, 3, 3))
  clock.seconds += 8
  state.update_pack(pack, 20, study.losses(2, 2, 2))
  clock.seconds += 50
  state.update_trials(study.ended(study.trials(6), pack, (2, 2, 2)))
  assert state.steps_per_second() == 6
  assert state.tokens_per_second() == 60


def test_a_second_pack_of_the_same_programs_is_timed_in_full(state, study, clock):
  first = study.pack(range(3))
  state.start_pack(first)
  state.update_pack(first, 4, study.losses(3, 3, 3))
  clock.seconds += 8
  state.update_pack(first, 20, study.losses(2, 2, 2))
  trials = study.ended(study.trials(6), first, (2, 2, 2))
  state.update_trials(trials)

  second = study.pack(range(3, 6), name='search-0-1')
  state.start_pack(second)
  clock.seconds += 2
  state.update_pack(second, 20, study.losses(3, 3, 3))
  clock.seconds += 3
  state.update_trials(study.ended(trials, second, (2, 2, 2)))
  assert state.steps_per_second() == (48 + 60) / (8 + 2 + 3)
  assert state.seconds_left() is None


def test_the_tokens_that_packs_report_are_added(state, study, clock):
  packs = [study.pack((0, 1), name='a'), study.pack((2, 3), name='b')]
  for pack in packs:
    state.start_pack(pack)
  for step in (4, 8):
    clock.seconds += 1
    for pack in packs:
      metrics = study.losses(3, 3) | {'tokens_per_second': 500.0}
      state.update_pack(pack, step, metrics)
  assert state.tokens_per_second() == 1000
  # 2 packs, 2 members, 4 steps of each in a second.
  assert state.steps_per_second() == 2 * 2 * 4


@pytest.mark.parametrize(
  ('rungs', 'n_left'), [((20,), 100), ((5, 20), 115)], ids=['no rungs', 'rungs']
)
def test_a_diverged_trial_frees_its_steps_only_without_rungs(study, rungs, n_left):
  # With rungs, another trial is promoted in its place.
  state = StudyState(study.sweep(), 's')
  trials = study.trials(6)
  state.start(study.plan(rungs=rungs), trials)
  pack = study.pack([0], last_step=5)
  state.start_pack(pack)
  state.update_trials(study.ended(trials, pack, [9.0], status='diverged'))
  assert state.steps_left() == n_left


def test_a_search_whose_trials_have_ended_has_no_steps_left(study):
  state = StudyState(study.sweep(), 's')
  trials = [dataclasses.replace(t, status='pruned') for t in study.trials(6)]
  state.start(study.plan(rungs=(5, 20)), trials)
  assert state.steps_left() == 0


def test_the_confirmation_is_part_of_the_steps_left(study):
  state = StudyState(study.sweep(2, confirm_points=1, confirm_seeds=4), 's')
  trials = study.trials(2)
  state.start(study.plan(2), trials)
  assert state.steps_left() == 40 + 2 * 4 * 20
  trials = study.ended(trials, study.pack(range(2)), (2, 3))
  trials += study.trials(8, 'confirm-0', first=2)
  state.update_trials(trials)
  pack = study.pack(range(2, 10), name='confirm-0-0')
  state.start_pack(pack)
  state.update_pack(pack, 5, study.losses(*range(8)))
  assert state.steps_left() == 160 - 8 * 5
  state.update_trials(study.ended(trials, pack, [1.0] * 8))
  assert state.steps_left() == 0
  assert state.summary().startswith('10/10 trials  best 2.0000 (trial 0, step 20)')


@pytest.mark.parametrize('maximize', [False, True])
def test_trials_are_ranked_with_diverged_ones_and_the_confirmation_last(
  study, maximize
):
  sweep = study.sweep(maximize=('eval_loss_nats',) if maximize else ())
  state = StudyState(sweep, 's')
  trials = study.ended(study.trials(6), study.pack(range(4)), (3.0, 1.0, 2.0, 0.5))
  penalty = -99.0 if maximize else 99.0
  trials[1] = dataclasses.replace(trials[1], status='diverged', values=(penalty,))
  trials[3] = dataclasses.replace(trials[3], cohort='confirm-0')
  state.update_trials(trials)
  best = [0, 2] if maximize else [2, 0]
  assert state.totals().ranked == [*best, 4, 5, 1, 3]
  assert state.totals().best == best[0]


def test_a_study_without_scores_has_no_best_trial(state):
  assert state.totals().best is None


def test_packs_that_an_earlier_process_ended_are_not_returned(study):
  state = StudyState(study.sweep(), 's')
  pack = study.pack(range(3))
  trials = study.ended(study.trials(6), pack, (1, 2, 3))
  state.start(study.plan(), trials)
  state.start_pack(pack)
  assert state.update_trials(trials) == []
  later = study.pack(range(3, 6), name='later')
  state.start_pack(later)
  assert state.update_trials(study.ended(trials, later, (1, 2, 3))) == [later]
