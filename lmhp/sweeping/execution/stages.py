"""Stages of a study, and the progress of its trials through the stages.

A stage trains some trials up to the same fraction of their length, and then scores them. If the
worst trials may be stopped there, the end of the stage is called a rung. The trials of a stage
are divided into packs. A pack is a group of trials that one compiled program trains together,
and these trials are the members of the pack.
"""

from __future__ import annotations

from collections.abc import Mapping
import dataclasses
import math


@dataclasses.dataclass(frozen=True)
class StateRef:
  """A reference to the state of a member at the end of a pack.

  Attributes:
    pack: Name of the pack.
    index: Index of the member in the pack.
  """

  pack: str
  index: int


@dataclasses.dataclass(frozen=True)
class MemberStart:
  """State and values with which a member starts a stage of population-based training.

  Attributes:
    state: State to start from. None for the initial state of the trial.
    overrides: {dotted path: value that replaces that of the trial}.
  """

  state: StateRef | None
  overrides: Mapping[str, object]


@dataclasses.dataclass(frozen=True)
class Stage:
  """Trials that are trained up to the same fraction of their length, and then scored.

  Attributes:
    name: Unique name in the study. The names of the packs of the stage begin with this name.
    trials: Numbers of the trials. The stage does not train those that have diverged.
    fraction: Fraction of each trial's length at which the stage ends. 1 is the end.
    cooldown: If True and `fraction` is below 1, the score is that of a fork: a copy of the
      state that is trained further, with a learning rate that falls to zero.
    data_per_trial: If True, each trial reads different batches.
    keep_states: If True, a later stage may continue from the states.
    planned_steps: Number of updates that are planned for the whole search, all trials
      together. In a long study, it pays to measure more methods of execution ('vmap', 'map'
      and 'loop').
    starts: {number of a trial: start}, for trials that continue from the state of another
      trial.
    divergence_ends: True if a trial ends when it diverges. False in population-based training,
      in which a diverged trial continues from the state of another trial.
  """

  name: str
  trials: tuple[int, ...]
  fraction: float = 1.0
  cooldown: bool = False
  data_per_trial: bool = False
  keep_states: bool = False
  planned_steps: float = math.inf
  starts: Mapping[int, MemberStart] = dataclasses.field(default_factory=dict)
  divergence_ends: bool = True


@dataclasses.dataclass
class TrialProgress:
  """Progress of a trial through the stages of a study.

  Attributes:
    state: Newest state, or None before the first stage.
    step: Number of updates up to the newest state.
    values: {step at the end of a stage: values of the objectives}. Infinity if the trial
      diverged.
    diverged: True if the trial diverged and does not continue.
  """

  state: StateRef | None = None
  step: int = 0
  values: dict[int, tuple[float, ...]] = dataclasses.field(default_factory=dict)
  diverged: bool = False
