"""Checks that all trials of a sweep are evaluated on the same tokens, or on the same text.

A point is one assignment of values to the parameters of the space. Points may differ in the
tokenizer, the text, the split or the number of evaluated sequences. Their losses per token are
then measures of different things. Bits per byte can still be compared if the bytes are the same.
"""

from __future__ import annotations

from collections.abc import Mapping
import dataclasses
from typing import NamedTuple

from lmhp.data.dataset import Dataset
from lmhp.errors import ConfigError
from lmhp.sweeping.config import SweepConfig
from lmhp.sweeping.space import CompiledSpace, Space
from lmhp.sweeping.tasks.language_model import LanguageModel
from lmhp.training.config import RunConfig

N_POINTS = 512
"""Number of points of the space that are compared."""

SAME_BYTES = ('eval_bits_per_byte',)
"""Scores that can be compared between tokenizers, on the same bytes."""

RELEVANT = ('data.', 'evaluate.', 'model.max_seq_len', 'train.seq_len')
"""Beginnings of the keys that can change what is evaluated."""


class EvaluatedTokens(NamedTuple):
  """The tokens that an evaluation of a trial scores, as everything that determines them.

  Trials with equal values score the same tokens.

  Attributes:
    text: Hashes of the texts of the sources, or None for sources of tokens.
    tokens: Hashes of the tokens of the sources.
    split: Keys that divide the tokens into training and validation.
    windows: Numbers of scored windows and their length, at the end and during training. Empty
      if all tokens are scored.
    targets: Keys that choose the targets among the tokens, or their own sources.
  """

  text: tuple[str | None, ...]
  tokens: tuple[str, ...]
  split: tuple[object, ...]
  windows: tuple[object, ...]
  targets: tuple[object, ...]


def evaluated_tokens(
  cfg: RunConfig, dataset: Dataset, during_training: bool
) -> EvaluatedTokens:
  """Returns what the evaluations of a trial score.

  Args:
    cfg: Complete config of the trial.
    dataset: Its dataset.
    during_training: If True, the evaluations before the end count too, as with halving.
  """
  data = cfg.data
  # Without a limit, each token but the first of a stream is a target, whatever the length of a
  # window is.
  seq_len = cfg.train.seq_len
  n_windows = sum(-(-(len(s) - 1) // seq_len) for s in dataset.validation)
  limits = [cfg.evaluate.final_sequences]
  if during_training:
    limits.append(cfg.evaluate.sequences)
  windows: list[object] = [
    limit for limit in limits if limit is not None and limit < n_windows
  ]
  if windows:
    windows.append(seq_len)

  # Other objectives choose some of the tokens of a window.
  targets: tuple[object, ...] = (
    data.objective,
    data.intra_document_attention,
    data.validation_path,
  )
  if data.objective != 'causal':
    targets += (
      seq_len,
      data.mask_fraction,
      data.mask_random_fraction,
      data.mask_keep_fraction,
      data.span_fraction,
      data.span_length,
    )
  return EvaluatedTokens(
    text=tuple(source.text_sha256 for source in dataset.sources),
    tokens=(
      dataset.tokenizer.hash,
      *(source.tokens_sha256 for source in dataset.sources),
    ),
    split=(data.split, data.validation_fraction),
    windows=tuple(windows),
    targets=targets,
  )


@dataclasses.dataclass(frozen=True)
class _Case:
  """The evaluation of one point.

  Attributes:
    overrides: Values of the point that can change what is evaluated.
    tokens: The evaluated tokens.
    dataset: Dataset of the point.
  """

  overrides: Mapping[str, object]
  tokens: EvaluatedTokens
  dataset: Dataset


def check_evaluations(task: LanguageModel, sweep: SweepConfig, space: Space) -> None:
  """Checks that all trials score the same tokens, or bits per byte of the same text.

  If the objective is bits per byte, and only the tokenizer or the split differ, the task is
  limited to the documents that all trials hold out.

  Args:
    task: Task of the sweep.
    sweep: Config of the sweep.
    space: Space of the sweep.

  Raises:
    ConfigError: If the objectives of trials cannot be compared.
  """
  known = (*task.job({}).known_metrics, 'latency_seconds')
  scores = [name for name in sweep.objective if name not in known]
  cases = _cases(task, sweep, space)
  others = [case for case in cases[1:] if case.tokens != cases[0].tokens]
  if not scores or not others:
    return

  path = _cause(cases[0], others[0])
  per_token = [name for name in scores if name not in SAME_BYTES]
  same_text = {(c.tokens.text, c.tokens.targets) for c in cases}
  has_text = all(None not in case.tokens.text for case in cases)
  is_causal = cases[0].dataset.mask_token is None and not cases[0].dataset.sentinels
  if len(same_text) > 1 or not has_text or not is_causal:
    raise ConfigError(
      f'{path}: got {_values(path, cases)}, with which trials are scored on different text, '
      'expected one value'
    )
  if not any(case.tokens.tokens != cases[0].tokens.tokens for case in cases) and (
    len({case.tokens.split for case in cases}) == 1
  ):
    raise ConfigError(
      f'{path}: got {_values(path, cases)}, with which trials are scored on different '
      'tokens, expected one value, or evaluate.final_sequences=None (and '
      'evaluate.sequences=None with sweep.halving)'
    )
  if per_token:
    raise ConfigError(
      f"sweep.objective: got {per_token[0]!r}, expected 'eval_bits_per_byte', since the space "
      f'varies {path}, and different tokens make losses per token incomparable'
    )
  if any(case.tokens.windows for case in cases):
    raise ConfigError(
      f'evaluate.final_sequences: got a limit, expected None (and evaluate.sequences=None '
      f'with sweep.halving), since the space varies {path}, and trials would be scored on '
      'different text'
    )
  n_documents = _common_documents([case.dataset for case in cases])
  if not all(n_documents):
    raise ConfigError(
      f'{path}: got {_values(path, cases)}, with which trials hold out different text, '
      'expected one value, or a text of several documents'
    )
  task.jobs.limit_validation(n_documents)
  for case in cases:
    _check_is_long_enough(task, case)


def _cases(task: LanguageModel, sweep: SweepConfig, space: Space) -> list[_Case]:
  """Returns the different cases among points of the space, that of the base config first."""
  # The base config comes first.
  all_overrides: dict[str, Mapping[str, object]] = {'base': {}}
  for point in CompiledSpace(space).random_points(N_POINTS):
    relevant = {p: v for p, v in point.overrides.items() if p.startswith(RELEVANT)}
    # Seeds and the order of the data do not change what is evaluated.
    for path in ('data.seed', 'data.mixture_weights'):
      relevant.pop(path, None)
    all_overrides.setdefault(repr(relevant), relevant)
  # Only the confirmation trains the base config.
  if not sweep.confirm_points:
    all_overrides.pop('base')
  cases = []
  for overrides in all_overrides.values():
    try:
      cfg = task.jobs.complete(overrides)
    except ConfigError:
      # A trial with these values is refused elsewhere, or needs other values of the space.
      continue
    dataset = task.jobs.dataset(cfg)
    tokens = evaluated_tokens(cfg, dataset, sweep.halving != 'none')
    cases.append(_Case(overrides, tokens, dataset))
  return cases


def _cause(first: _Case, other: _Case) -> str:
  """Returns the path whose values make the difference between two cases."""
  different = [
    path
    for path, value in other.overrides.items()
    if first.overrides.get(path, ...) != value
  ]
  is_window = first.tokens._replace(windows=()) == other.tokens._replace(windows=())
  # The keys of the data come first, unless only the windows differ.
  different.sort(key=lambda path: path.startswith('data.') == is_window)
  return different[0]


def _values(path: str, cases: list[_Case]) -> str:
  """Returns the values of a path in the cases, as text."""
  values = [repr(case.overrides[path]) for case in cases if path in case.overrides]
  return ' and '.join(dict.fromkeys(values))


def _common_documents(datasets: list[Dataset]) -> tuple[int, ...]:
  """Returns the number of whole documents that all datasets hold out, for each source.

  The validation split is the end of a source, so the documents are the last ones.
  """
  counts = []
  for dataset in datasets:
    # The first document of a stream may be the rest of a document.
    counts.append([len(stream.starts) - 1 for stream in dataset.validation])
  return tuple(min(column) for column in zip(*counts))


def _check_is_long_enough(task: LanguageModel, case: _Case) -> None:
  """Checks that the common documents have at least one sequence."""
  cfg = task.jobs.complete(case.overrides)
  shortest = min(len(stream) for stream in task.jobs.dataset(cfg).validation)
  if shortest <= cfg.train.seq_len:
    raise ConfigError(
      f'data.validation_fraction: got {shortest} validation tokens in the documents that all '
      f'trials hold out, expected at least {cfg.train.seq_len + 1} (sequence length + 1)'
    )
