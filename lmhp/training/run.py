"""A run in its directory: start, resume, end, and the result.

The directory holds `config.json` (the manifest), `metrics.jsonl`, `checkpoints/`, TensorBoard
events and, after the end, `result.json`.
"""

from __future__ import annotations

from collections.abc import Mapping
import dataclasses
import json
from typing import Any

import numpy as np

from lmhp.counting.parameters import count
from lmhp.data.dataset import Dataset
from lmhp.errors import ConfigError, is_out_of_memory
from lmhp.files import as_path, from_jsonable, read_json, write_json
from lmhp.hypers import flatten
from lmhp.model.transformer import Model
from lmhp.statistics.divergence import diverged_at
from lmhp.statistics.untrained import untrained_reason
from lmhp.training.checkpoint import Checkpoints
from lmhp.training.config import RunConfig
from lmhp.training.history import (
  METRICS_FILE,
  HistoryMark,
  check_rows,
  read_history,
)
from lmhp.training.loop import RunRecord, RunSetup, TrainingLoop
from lmhp.training.manifest import MANIFEST_FILE, RunManifest, read_manifest
from lmhp.training.progress.display import training_progress
from lmhp.training.progress.formats import format_summary
from lmhp.training.signals import Stop, stop_on_signals
from lmhp.training.step import TrainState
from lmhp.training.writers import Writers
from lmhp.typing import JSON, PathLike, PyTree

RESULT_FILE = 'result.json'

DIVERGENCE_HALF_LIFE_STEPS = 20
"""Half-life of the moving average of the loss that decides if a run diverged."""


@dataclasses.dataclass(frozen=True)
class RunResult:
  """The result of a run.

  Attributes:
    workdir: Directory of the files of the run.
    params: Last parameters. None if the run was complete before and its state was not kept.
    result: Content of `result.json`. Empty if the run was interrupted.
    history: Training metrics by name, each a vector over the logged steps.
    evaluations: Metrics of the evaluations by name, each a vector over the evaluations.
    model: Network.
    signal: Signal that interrupted the run, such as `signal.SIGTERM`. The same call then
      resumes it. None if the run is complete.
  """

  workdir: str
  params: PyTree
  result: Mapping[str, Any]
  history: dict[str, np.ndarray]
  evaluations: dict[str, np.ndarray]
  model: Model
  signal: int | None = None

  @property
  def complete(self) -> bool:
    """True if the run reached its end."""
    return self.signal is None

  def __repr__(self) -> str:
    """Returns a short summary. The last cell of a notebook prints it."""
    if not self.complete:
      return f'run in {self.workdir}, interrupted; the same call resumes it'
    by_kind = self.result['parameters_by_kind']
    return format_summary(self.result, by_kind, self.workdir)


class Run:
  """One run in its directory.

  The constructor checks everything that can be checked before a program is compiled or a
  file is written.

  Args:
    cfg: Completed config.
    dataset: Dataset of `cfg.data`.
    workdir: Directory of the run.
    display: Mode of the progress, one of `lmhp.training.progress.live.MODES`.
    manifest: Manifest of this process. If `config.json` exists, only its config and its
      overrides are replaced, so a resumed run keeps the provenance of its first process.

  Raises:
    ConfigError: If the data is too short, if the run is too long, or if no parameter is
      trainable.
  """

  def __init__(
    self,
    cfg: RunConfig,
    dataset: Dataset,
    workdir: PathLike,
    display: str,
    manifest: RunManifest,
  ) -> None:
    self.record = RunRecord()
    self.setup = RunSetup(cfg, dataset)
    self.workdir = as_path(workdir)
    self.display = display
    self.manifest = manifest
    self._total_steps = cfg.train.steps

  def run(self) -> RunResult:
    """Trains to the end of the run, or until a signal.

    If the run was complete before, its files are read and nothing is trained.

    Raises:
      ConfigError: If the run does not fit in memory. If nothing is saved yet, the directory is
        free for another config.
    """
    is_new = not (self.workdir / MANIFEST_FILE).exists()
    try:
      return self._run()
    except Exception as error:
      if not is_out_of_memory(error):
        raise
    cfg = self.setup.cfg
    if is_new and not Checkpoints(self.workdir / 'checkpoints').steps():
      (self.workdir / MANIFEST_FILE).unlink(missing_ok=True)
      (self.workdir / METRICS_FILE).unlink(missing_ok=True)
      (self.workdir / 'checkpoints').rmtree(missing_ok=True)
    raise ConfigError(
      f'train.batch_size: got {cfg.train.batch_size}, with which the run of '
      f'{count(cfg.model).total:,} parameters does not fit in memory, expected a larger '
      "train.grad_accumulation_steps or train.loss_chunks, model.remat='full', or a smaller "
      'batch or model'
    )

  def _run(self) -> RunResult:
    """Trains to the end of the run, or until a signal."""
    checkpoint_config = self.setup.cfg.checkpoint
    with (
      Checkpoints(self.workdir / 'checkpoints', checkpoint_config) as checkpoints,
      stop_on_signals() as stop,
    ):
      # A run that has a result is complete in two cases: it has no checkpoint, or its newest
      # readable checkpoint is the last state. Otherwise the last checkpoint was damaged or
      # deleted, and the run continues from an older one.
      has_result = read_result(self.workdir) is not None
      latest = checkpoints.latest()
      if has_result and latest is None:
        checkpoints.check_markers()
        return self._already_complete(None)

      state, resumed = self._first_state(checkpoints, latest)
      if has_result and self._is_last(0 if resumed is None else resumed.step):
        return self._already_complete(state)

      state, mark = self._train(state, resumed, checkpoints, stop)

    # The exit of `Checkpoints` has waited until the last checkpoint was written.
    if not self._is_last(mark.step):
      return self._outcome(state, stop.signal)
    last_step = self.record.nonfinite_step or mark.step
    result = self._result(last_step, mark)
    write_json(self.workdir / RESULT_FILE, result, checksum=True)
    return self._outcome(state)

  def _is_last(self, step: int) -> bool:
    """Returns True if the state of a step is the last of the run."""
    return self.record.nonfinite_step is not None or step == self._total_steps

  def _first_state(
    self, checkpoints: Checkpoints, latest: int | None
  ) -> tuple[TrainState, HistoryMark | None]:
    """Returns the newest saved state and the mark of its rows, or a new state and None."""
    programs = self.setup.programs
    if latest is None:
      return programs.init(programs.hypers), None
    state, extra = checkpoints.restore(latest, self.setup.abstract_state)
    try:
      mark = HistoryMark(**extra['history'])
      self.record.restore(extra)
    except (KeyError, TypeError):
      raise ConfigError(
        f'{self.workdir}: its checkpoints are of another version of lmhp, expected another '
        'workdir'
      ) from None
    return state, mark

  def _train(
    self,
    state: TrainState,
    resumed: HistoryMark | None,
    checkpoints: Checkpoints,
    stop: Stop,
  ) -> tuple[TrainState, HistoryMark]:
    """Trains, evaluates at the end, and saves.

    Returns:
      The last state, and the mark of the rows up to it.
    """
    cfg = self.setup.cfg
    first_step = 0 if resumed is None else resumed.step
    name = self.workdir.name
    with (
      Writers(self.workdir, cfg.log, resumed, flatten(cfg)) as writers,
      training_progress(self._total_steps, name, self.display, first_step) as progress,
    ):
      # `Writers` has locked the directory, so no other process writes the manifest.
      self._write_manifest()
      if resumed is not None:
        progress.message(f'resumed at step {resumed.step:,}')

      loop = TrainingLoop(self.setup, self.record, checkpoints, writers, progress, stop)
      state, step = loop.train(state, first_step)
      # If no step was made, there is nothing new to save: the state is the restored one or
      # the initial one.
      if step != first_step:
        if self._is_last(step):
          # A chunk may end after a loss that is not finite. The row has the step of that loss.
          loop.evaluate(state, self.record.nonfinite_step or step, final=True)
        loop.save(state, step, wait=True)

      if not self._is_last(step):
        hint = 'the same command resumes the run'
        if not checkpoints.steps():
          hint = 'nothing is saved yet, and the same command begins again'
        progress.message(f'stopped at step {step:,}; {hint}')
      # The result is written only if the rows are still beside it.
      writers.history.sync()
      return state, writers.history.mark(step)

  def _write_manifest(self) -> None:
    """Writes the manifest of a new run, or the new config of a run that continues.

    A run that continues keeps the provenance of its first process.
    """
    stored = read_manifest(self.workdir)
    if stored is None:
      write_json(self.workdir / MANIFEST_FILE, self.manifest.to_json(), checksum=True)
      return
    config = json.loads(json.dumps(self.manifest.config))
    if stored.config == config:
      return
    overrides = self.manifest.overrides
    changed = dataclasses.replace(stored, config=config, overrides=overrides)
    write_json(self.workdir / MANIFEST_FILE, changed.to_json(), checksum=True)
    # The result of a run that becomes longer is no longer its result.
    if stored.config['train'].get('steps') != config['train']['steps']:
      (self.workdir / RESULT_FILE).unlink(missing_ok=True)

  # --- the end ------------------------------------------------------------------------

  def _already_complete(self, state: TrainState | None) -> RunResult:
    """Reads the result of a run that was complete before."""
    check_rows(self.workdir, read_result(self.workdir) or {})
    # The message is one line, so it needs no live view.
    mode = 'none' if self.display == 'none' else 'plain'
    name = self.workdir.name
    with training_progress(self._total_steps, name, mode) as progress:
      progress.message(
        f'{self.workdir}: this run is complete; nothing is trained again'
      )
    return self._outcome(state)

  def _outcome(self, state: TrainState | None, signal: int | None = None) -> RunResult:
    """Returns the last parameters and the content of the files of the run."""
    return RunResult(
      workdir=str(self.workdir),
      params=None if state is None else state.params,
      result={} if signal else read_result(self.workdir) or {},
      history=read_history(self.workdir, having='loss_nats'),
      evaluations=read_history(self.workdir, having='eval_loss_nats'),
      model=self.setup.programs.model,
      signal=signal,
    )

  def _result(self, step: int, mark: HistoryMark) -> dict[str, object]:
    """Returns the content of `result.json` of a run.

    Args:
      step: Last step of the run.
      mark: Mark of the last row.
    """
    setup = self.setup
    counts = count(setup.cfg.model)
    final_scores = {f'final_{name}': x for name, x in self.record.scores.items()}
    losses = summarize_losses(
      read_history(self.workdir, having='loss_nats'),
      read_history(self.workdir, having='eval_loss_nats'),
      setup.cfg.log.every_steps,
    )
    return {
      **final_scores,
      **losses,
      'steps': step,
      'tokens': step * setup.tokens_per_step,
      'epochs': setup.epochs(step),
      'seconds': self.record.seconds(),
      'compile_seconds': setup.programs.compile_seconds,
      'parameters': counts.total,
      'parameters_by_kind': counts.by_kind,
      'dtype': setup.cfg.model.dtype,
      'data_sha256': setup.dataset.sha256,
      'data': setup.dataset.describe(),
      'history': dataclasses.asdict(mark),
      **self.manifest.provenance.to_json(),
    }


def summarize_losses(
  history: Mapping[str, np.ndarray],
  evaluations: Mapping[str, np.ndarray],
  log_every_steps: int,
) -> dict[str, JSON]:
  """Returns the entries of `result.json` that follow from the logged losses.

  Args:
    history: Training metrics by name.
    evaluations: Metrics of the evaluations by name.
    log_every_steps: Number of steps from one row of `history` to the next.
  """
  # The best evaluation. A loss that is not finite is never the best.
  losses = evaluations['eval_loss_nats']
  finite_losses = np.where(np.isfinite(losses), losses, np.inf)
  best = int(np.argmin(finite_losses))

  # Convert the half-life from steps to rows of the history.
  half_life = max(DIVERGENCE_HALF_LIFE_STEPS / log_every_steps, 1)
  row = diverged_at(history['loss_nats'], half_life=half_life)
  return {
    'best_eval_loss_nats': float(finite_losses[best]),
    'best_eval_step': int(evaluations['step'][best]),
    'initial_loss_nats': float(history['loss_nats'][0]),
    'diverged_at': None if row is None else int(history['step'][row]),
    'untrained': untrained_reason(
      history['loss_nats'], history.get('grad_norm', np.zeros(0))
    ),
  }


def read_result(workdir: PathLike) -> dict[str, Any] | None:
  """Returns the content of `result.json`, or None if the run is not complete.

  The file stores NaN and infinity as strings. They are converted back to floats.

  Args:
    workdir: Directory of the run.

  Raises:
    ConfigError: If the file is damaged.
  """
  path = as_path(workdir) / RESULT_FILE
  if not path.exists():
    return None
  try:
    result = read_json(path)
    if not isinstance(result, dict) or not all(
      isinstance(result[name], int) for name in ('steps', 'parameters')
    ):
      raise ConfigError(f'{path}: expected whole numbers of steps and parameters')
  except (ConfigError, KeyError) as error:
    raise ConfigError(
      f'{path}: not the result of a run ({error}); remove the file, and the same command '
      'writes it again'
    ) from None
  return from_jsonable(result)
