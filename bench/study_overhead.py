"""Overhead of a study without training, in milliseconds per trial.

10,000 trials are designed, stored, scored at three rungs, ended and read again, in packs of
64, as in a sweep. The aim is below 3 ms per trial. The time of TPE is measured apart, for
batches of 8 points after 100 and after 1,000 known points.

  python bench/study_overhead.py [--trials=10000] [--width=64] [--storage=URL]
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
import contextlib
import dataclasses
import pathlib
import platform
import tempfile
import time

from lmhp.sweeping.config import SweepConfig
from lmhp.sweeping.search.bayesian import TPE
from lmhp.sweeping.search.designs import Design
from lmhp.sweeping.search.method import SearchState
from lmhp.sweeping.space import Choice, Float, Int
from lmhp.sweeping.store.manifest import StudyManifest, TaskDescription
from lmhp.sweeping.store.study import Study
from lmhp.sweeping.store.trial import ModelSummary, StageResult, Trial, TrialCost

SPACE = {
  'optimizer.learning_rate': Float(1e-4, 1e-1, log=True),
  'optimizer.weight_decay': Float(1e-4, 1.0, log=True),
  'optimizer.b2': Float(0.9, 0.999),
  'schedule.name': Choice('cosine', 'wsd_linear', 'constant'),
  'model.n_layers': Int(2, 8),
}
RUNGS = (50, 100, 200)
MANIFEST = StudyManifest(TaskDescription('stub', {}), {'search_seed': 0}, {})


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
  parser.add_argument('--trials', type=int, default=10_000)
  parser.add_argument(
    '--width', type=int, default=64, help='number of trials in a pack'
  )
  parser.add_argument('--storage', help='URL of a database; default: the journal')
  options = parser.parse_args()
  machine = f'{platform.machine()}, Python {platform.python_version()}'
  print(f'{machine}; {options.trials:,} trials, packs of {options.width}')
  with tempfile.TemporaryDirectory() as directory:
    seconds = store(pathlib.Path(directory) / 'study', options)
  seconds['all'] = [sum(column) for column in zip(*seconds.values())]
  print(f'{"ms a trial":28} {"wall":>8} {"processor":>10}')
  for words, both in seconds.items():
    wall, processor = (1000 * value / options.trials for value in both)
    print(f'{words:28} {wall:8.3f} {processor:10.3f}')
  for n_known in (100, 1000):
    print(f'TPE with {n_known:5,} points known {1000 * ask(n_known):12.1f} ms a point')


def store(workdir: pathlib.Path, options: argparse.Namespace) -> dict[str, list[float]]:
  """Returns the wall seconds and the CPU seconds of each part of a study."""
  seconds: dict[str, list[float]] = {}

  @contextlib.contextmanager
  def timed(words: str) -> Iterator[None]:
    wall, processor = time.perf_counter(), time.process_time()
    yield
    seconds[words] = [time.perf_counter() - wall, time.process_time() - processor]

  def opened():
    return Study.open(workdir, storage=options.storage, space=SPACE, manifest=MANIFEST)

  with timed('begin'):
    study = opened()
  with timed('design'):
    points = Design(SPACE, 'sobol', 0).points(0, options.trials)
    trials = [
      Trial(
        i,
        i,
        i,
        p.parameters,
        {**p.overrides, 'train.seed': i},
        model=ModelSummary('s', f'{i:064x}'),
      )
      for i, p in enumerate(points)
    ]
  with timed('add'):
    study.add(trials)
  for rung, step in enumerate(RUNGS):
    with timed(f'score at step {step}'):
      for start in range(0, len(trials), options.width):
        pack = [at_rung(t, rung, start) for t in trials[start : start + options.width]]
        study.update(pack)
        trials[start : start + options.width] = pack
  with timed('close'):
    study.close()
  with timed('open again and read'):
    study = opened()
    again = study.trials
  study.close()
  assert again == trials
  return seconds


def at_rung(trial: Trial, rung: int, start: int) -> Trial:
  """Returns a trial with the results that the engine adds at a rung."""
  step, stage, score = (
    RUNGS[rung],
    f'search-0-rung{rung}-0',
    3.0 + 1 / RUNGS[rung] + trial.number * 1e-6,
  )
  pack = f'{stage}-0-{start}'
  ended = rung == len(RUNGS) - 1
  return dataclasses.replace(
    trial,
    status='complete' if ended else 'running',
    scores={**trial.scores, step: score},
    values=(score,) if ended else None,
    stages=(*trial.stages, StageResult(stage, pack, (score,))),
    cost=TrialCost(
      steps=step,
      cooldown_steps=10,
      tokens=step * 4096,
      flops=step * 1.5e9,
      seconds=step * 0.01,
      device='stub',
    ),
    metrics={
      'loss_nats': score,
      'bits_per_byte': score / 3,
      'eval_loss_nats': score,
    },
  )


def ask(n_known: int) -> float:
  """Returns the seconds of TPE for one point of a batch of 8."""
  points = Design(SPACE, 'sobol', 0).points(0, n_known)
  known = [
    Trial(
      i,
      i,
      i,
      point.parameters,
      point.overrides,
      status='complete',
      values=((i * 0.618) % 1,),
    )
    for i, point in enumerate(points)
  ]
  sweep = SweepConfig(space=SPACE, search='tpe', trials=n_known + 8)
  began = time.perf_counter()
  for seed in range(3):
    state = SearchState(sweep, SPACE, seed, first_point=n_known, trials=tuple(known))
    TPE.propose(state, 8)
  return (time.perf_counter() - began) / 24


if __name__ == '__main__':
  main()
