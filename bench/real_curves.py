"""Coverage of the extrapolation of training curves on published curves.

  python bench/real_curves.py DIRECTORY

DIRECTORY holds bare clones, DIRECTORY/OWNER+NAME/repo. The script fetches nothing, and leaves
out sources whose clones are absent. The sources are:

  lr-scheduling    fabian-sp/lr-scheduling: validation losses of wsd runs before the cooldown
  speedruns        KellerJordan/modded-nanogpt tracks 1 and 2, tyler-romero/nanogpt-speedrun:
                   losses before the cooldown
  gemstones        mcleish7/gemstone-scaling-laws: training losses at a constant rate
  olmo             allenai/OLMo: validation losses of the ladder at a constant rate
  parameter-golf   openai/parameter-golf: losses of the first 70% of the steps
  algoperf         mlcommons/submissions_algorithms: validation losses of schedule-free
                   submissions (images, graphs, speech, clicks, translation)

Runs of one config count once. A curve has 24 rows or more at a constant learning rate. The
truth is the mean loss in the last tenth of the steps (5 rows or more), at their mean step T.
The curve is cut at T / 2 and T / 1.4, and the loss at T is forecast with an interval of 90%.

The scale of the wander is set on synthetic curves (`bench/calibration_curves.py`), and not on
these. The fraction of skipped steps was chosen here. So each source is forecast with the
fraction that has the best interval score on the other sources, all of which count equally.
The score is the mean of log(width + 20 * distance of the truth from the interval) (Gneiting
and Raftery 2007, JASA 102(477)). Other choices (the form of the law, the reasons to refuse)
were made with all sources in view, so that coverage on a new source can be lower.
"""

from __future__ import annotations

import argparse
import collections
from collections.abc import Callable, Iterator
import csv
import dataclasses
import hashlib
import io
import json
import math
from pathlib import Path
import re
import subprocess

import numpy as np

from lmhp.analysis.curves import extrapolation
from lmhp.statistics.intervals import wilson_interval

MIN_ROWS = 24
FACTORS = (2.0, 1.4)
SKIPPED = (0.1, 0.2, 0.3)
OLMO_COMMIT = '9bc064c7'


@dataclasses.dataclass(frozen=True)
class Curve:
  """Losses of one config at a constant learning rate.

  Attributes:
    steps: (S,) steps.
    losses: (S,) losses.
  """

  steps: np.ndarray
  losses: np.ndarray


@dataclasses.dataclass(frozen=True)
class Forecast:
  """One forecast and the truth.

  Attributes:
    source: Source of the curve.
    curve: Number of the curve in its source.
    refused: True if there is no forecast.
    covered: True if the interval contains the truth.
    half_width: Half of the length of the interval.
    error: Forecast less truth.
    score: Log of the interval score. Lower is better.
  """

  source: str
  curve: int
  refused: bool
  covered: bool = False
  half_width: float = math.nan
  error: float = math.nan
  score: float = math.nan


# --- clones -----------------------------------------------------------------------------


class Clone:
  """Read access to a bare clone."""

  def __init__(self, directory: Path, name: str, revision: str = 'HEAD'):
    self.path = directory / name.replace('/', '+') / 'repo'
    self.revision = revision

  def _git(self, *arguments: str) -> str:
    command = ['git', f'--git-dir={self.path}', *arguments]
    result = subprocess.run(command, capture_output=True, check=True)
    return result.stdout.decode(errors='replace')

  def names(self, folder: str, *endings: str) -> list[str]:
    """Returns the paths of files below a folder with one of the endings."""
    listing = self._git('ls-tree', '-r', '--name-only', self.revision, folder)
    return [name for name in listing.splitlines() if name.endswith(endings)]

  def read(self, name: str) -> str:
    """Returns the text of a file. Empty if the clone lacks the file."""
    try:
      return self._git('show', f'{self.revision}:{name}')
    except subprocess.CalledProcessError:
      return ''


def make_curve(steps: list[float], losses: list[float]) -> Curve:
  """Returns a curve with rising steps and finite losses."""
  x, first = np.unique(np.array(steps, float), return_index=True)
  y = np.array(losses, float)[first]
  kept = (x > 0) & np.isfinite(y)
  return Curve(x[kept], y[kept])


def until(curve: Curve, step: float) -> Curve:
  """Returns the part of a curve up to a step."""
  kept = curve.steps <= step
  return Curve(curve.steps[kept], curve.losses[kept])


# --- sources ----------------------------------------------------------------------------


def lr_scheduling(directory: Path) -> Iterator[Curve]:
  """Yields the longest constant part of each config."""
  clone = Clone(directory, 'fabian-sp/lr-scheduling')
  keys = (
    'dataset n_layer n_head n_embd lr batch_size acc_steps sequence_length weight_decay'
  )
  longest: dict[tuple[str, ...], Curve] = {}
  for name in clone.names('data', '.json'):
    run = json.loads(clone.read(name))
    config = run['config']
    curve = make_curve(run['history']['val']['iter'], run['history']['val']['val_loss'])
    if config['scheduler'] != 'wsd' or curve.steps.min(initial=math.inf) > 1000:
      # A resumed run has no start.
      continue
    stable = config['iterations'] * (1 - config['wsd_fract_decay'])
    curve = until(curve, stable)
    key = tuple(str(config.get(one)) for one in keys.split())
    if key not in longest or len(curve.steps) > len(longest[key].steps):
      longest[key] = curve
  yield from longest.values()


def logged(text: str, kind: str) -> Curve:
  """Returns the losses in a log with lines such as step:125/3000 val_loss:3.9."""
  rows = re.findall(rf'^step:(\d+)/\d+ {kind}:([\d.]+)', text, re.MULTILINE)
  return make_curve(
    [float(step) for step, _ in rows], [float(loss) for _, loss in rows]
  )


def best_logged(texts: list[tuple[str, float]]) -> Curve | None:
  """Returns the longest curve of validation losses of equal runs, else of training losses."""
  for kind in ('val_loss', 'train_loss'):
    curves = [until(logged(text, kind), stable) for text, stable in texts]
    curve = max(curves, key=lambda one: len(one.steps))
    if len(curve.steps) >= MIN_ROWS:
      return curve
  return None


def setting_in(text: str, name: str) -> float | None:
  """Returns a number such as num_iterations = 2*1000 in the code of a log."""
  found = re.search(rf'{name}=(\d+)', text) or re.search(
    rf'{name}\s*(?::\s*int)?\s*=\s*([\d.*]+)', text
  )
  if found is None:
    return None
  return math.prod(float(one) for one in found[1].split('*'))


def speedruns(directory: Path) -> Iterator[Curve]:
  """Yields one curve for each set of lines with hyperparameters in the logged code."""
  groups: dict[str, list[tuple[str, float]]] = collections.defaultdict(list)
  modded = Clone(directory, 'KellerJordan/modded-nanogpt')
  tyler = Clone(directory, 'tyler-romero/nanogpt-speedrun')
  for clone, folder in (
    (modded, 'records/track_1_short'),
    (modded, 'records/track_2_medium'),
    (tyler, 'logs'),
  ):
    for name in clone.names(folder, '.txt', '.log'):
      text = clone.read(name)
      steps = setting_in(text, 'num_iterations')
      cooldown = setting_in(text, '(?:warmdown|cooldown)_iters')
      fraction = setting_in(text, 'cooldown_frac')
      if steps is None:
        continue
      if cooldown is None:
        cooldown = steps * fraction if fraction is not None else math.inf
      stable = steps - cooldown
      words = 'lr|momentum|beta|optimizer|n_layer|n_embd|batch|num_iterations|warm|cool'
      lines = re.findall(
        rf'^.*(?:{words}|weight_decay).*=.*$', text, flags=re.MULTILINE
      )
      code = hashlib.sha1(''.join(lines).encode()).hexdigest()
      groups[name.split('/')[-2] + code].append((text, stable))
  for texts in groups.values():
    curve = best_logged(texts)
    if curve is not None:
      yield curve


def gemstones(directory: Path) -> Iterator[Curve]:
  """Yields one curve for each run."""
  clone = Clone(directory, 'mcleish7/gemstone-scaling-laws')
  for table in ('hot_100b+_477', 'lr_ablation_hot_477'):
    rows = clone.read(f'wandb_dfs/wandb_df_for_fitting_{table}.jsonl').splitlines()
    by_run: dict[str, list[dict[str, float]]] = collections.defaultdict(list)
    for row in map(json.loads, rows):
      by_run[row['run_name']].append(row)
    for run in by_run.values():
      yield make_curve([row['step'] for row in run], [row['final_loss'] for row in run])


def column(rows: list[dict[str, str]], name: str) -> list[float]:
  """Returns a column of a table, with NaN for empty cells."""
  return [float(row.get(name) or 'nan') for row in rows]


def olmo(directory: Path) -> Iterator[Curve]:
  """Yields one curve for each size."""
  clone = Clone(directory, 'allenai/OLMo', OLMO_COMMIT)
  for name in clone.names('scripts/scaling/data/peteish-moreeval-const', '.csv'):
    rows = list(csv.DictReader(io.StringIO(clone.read(name))))
    loss = column(rows, 'eval/c4_en-validation/CrossEntropyLoss')
    yield make_curve(column(rows, '_step'), loss)


def parameter_golf(directory: Path) -> Iterator[Curve]:
  """Yields one curve for each folder of records."""
  clone = Clone(directory, 'openai/parameter-golf')
  groups: dict[str, list[tuple[str, float]]] = collections.defaultdict(list)
  for name in clone.names('records', '.txt', '.log'):
    text = clone.read(name)
    last = max(
      logged(text, kind).steps.max(initial=0) for kind in ('val_loss', 'train_loss')
    )
    groups[name.split('/')[2]].append((text, 0.7 * last))
  for texts in groups.values():
    curve = best_logged(texts[:1])
    if curve is not None:
      yield curve


def algoperf(directory: Path) -> Iterator[Curve]:
  """Yields the first long study of each submission, workload and trial."""
  clone = Clone(directory, 'mlcommons/submissions_algorithms')
  seen: set[str] = set()
  for name in clone.names('previous_leaderboards', '/measurements.csv'):
    config = re.sub(r'/study_\d+', '', name)
    if 'schedule_free' not in name or config in seen:
      continue
    rows = list(csv.DictReader(io.StringIO(clone.read(name))))
    for loss in ('validation/ctc_loss', 'validation/loss'):
      curve = make_curve(column(rows, 'global_step'), column(rows, loss))
      if len(curve.steps) >= MIN_ROWS:
        seen.add(config)
        yield curve
        break


SOURCES: dict[str, Callable[[Path], Iterator[Curve]]] = {
  'lr-scheduling': lr_scheduling,
  'speedruns': speedruns,
  'gemstones': gemstones,
  'olmo': olmo,
  'parameter-golf': parameter_golf,
  'algoperf': algoperf,
}


# --- forecasts --------------------------------------------------------------------------


def forecast(source: str, number: int, curve: Curve, factor: float) -> Forecast:
  """Forecasts the end of a curve from its part before 1 / factor of the steps."""
  is_last = curve.steps >= 0.9 * curve.steps[-1]
  is_last[-5:] = True
  to_step = float(curve.steps[is_last].mean())
  truth = float(curve.losses[is_last].mean())

  seen = until(curve, to_step / factor)
  result = extrapolation.extrapolate(seen.steps, seen.losses, to_step)
  if result.reason:
    return Forecast(source, number, True)
  distance = max(result.low - truth, truth - result.high, 0.0)
  return Forecast(
    source,
    number,
    False,
    covered=distance == 0,
    half_width=(result.high - result.low) / 2,
    error=result.loss - truth,
    score=math.log(result.high - result.low + 20 * distance),
  )


def mean_score(forecasts: list[Forecast]) -> float:
  """Returns the mean over sources of the mean score."""
  by_source: dict[str, list[float]] = collections.defaultdict(list)
  for one in forecasts:
    if not one.refused:
      by_source[one.source].append(one.score)
  return float(np.mean([np.mean(scores) for scores in by_source.values()]))


def row_of(name: str, forecasts: list[Forecast]) -> str:
  """Returns one line of the table. The curves are the units of the binomial interval."""
  made = [one for one in forecasts if not one.refused]
  curves = len({(one.source, one.curve) for one in forecasts})
  covered = float(np.mean([one.covered for one in made]))
  units = len({(one.source, one.curve) for one in made})
  low, high = wilson_interval(round(covered * units), units)[-2:]
  half_width = float(np.median([one.half_width for one in made]))
  error = float(np.quantile(np.abs([one.error for one in made]), 0.9))
  return (
    f'{name:<18} {curves:>6} {len(made):>9} {1 - len(made) / len(forecasts):>8.0%} '
    f'{covered:>8.1%} [{low:.0%}, {high:.0%}] {half_width:>10.4f} {error:>8.4f}'
  )


def main() -> None:
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument('directory', type=Path)
  directory = parser.parse_args().directory

  curves: dict[str, list[Curve]] = {}
  for source, read in SOURCES.items():
    try:
      found = list(read(directory))
    except subprocess.CalledProcessError:
      print(f'{source}: no clone')
      continue
    curves[source] = [one for one in found if len(one.steps) >= MIN_ROWS]

  # Forecast all curves with each fraction of skipped steps.
  by_fraction: dict[float, list[Forecast]] = {}
  for fraction in SKIPPED:
    extrapolation.SKIPPED = fraction
    by_fraction[fraction] = [
      forecast(source, number, curve, factor)
      for factor in FACTORS
      for source, of_source in curves.items()
      for number, curve in enumerate(of_source)
    ]

  # For each source, use the fraction that is best for the other sources.
  print(
    'source             curves forecasts  refused coverage            half-width    error'
  )
  chosen: list[Forecast] = []
  for source in curves:
    scores = {
      fraction: mean_score([one for one in forecasts if one.source != source])
      for fraction, forecasts in by_fraction.items()
    }
    fraction = min(scores, key=lambda one: scores[one])
    of_source = [one for one in by_fraction[fraction] if one.source == source]
    print(f'{row_of(source, of_source)}   skipped {fraction}', flush=True)
    chosen += of_source
  language = [one for one in chosen if one.source != 'algoperf']
  print(row_of('language models', language))
  print(row_of('all', chosen))
  print(
    'coverage of 90% intervals; median half-width; 90th percentile of the absolute error'
  )


if __name__ == '__main__':
  main()
