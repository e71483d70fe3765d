"""The summary of a complete run, as text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lmhp.training.progress.formats import format_duration
from lmhp.typing import PathLike


def format_summary(
  result: Mapping[str, Any], counts: Mapping[str, int], workdir: PathLike
) -> str:
  """Returns the loss, the length, the parameters by kind and the place of the files.

  Args:
    result: Content of `result.json`.
    counts: Number of parameters by kind, without the total.
    workdir: Directory of the run.
  """
  # The final loss.
  loss = result['final_eval_loss_nats']
  error = result['final_eval_loss_nats_standard_error']
  rows = [
    (
      'eval loss',
      f'{loss:.4f} ± {error:.4f} nats per token (standard error over sequences)',
    )
  ]
  if result['diverged_at'] is not None:
    rows.append(('diverged', f'at step {result["diverged_at"]:,}'))

  # The length of training.
  seconds = format_duration(result['seconds'])
  compile_seconds = format_duration(result['compile_seconds'])
  rows.append(
    (
      'trained',
      f'{result["steps"]:,} steps, {result["tokens"]:,} tokens, in {seconds}, of which '
      f'{compile_seconds} to compile',
    )
  )

  # The parameters by kind.
  total = sum(counts.values())
  rows.append(('parameters', f'{total:>15,}'))
  for kind, n_parameters in counts.items():
    if n_parameters:
      share = n_parameters / total
      rows.append((f'  {kind}', f'{n_parameters:>15,}  {share:6.1%}'))
  files = 'result.json, metrics.jsonl, config.json, checkpoints/'
  rows.append(('results', f'{workdir} ({files})'))
  return '\n'.join(f'{name:<16}{text}' for name, text in rows)
