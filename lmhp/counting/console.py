"""Counts of several models as a table on the terminal, one column for each model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.measure import Measurement
from rich.table import Table

from lmhp.counting.description import ModelDescription, TrainingCost
from lmhp.counting.memory import optimizer_bytes, parameter_bytes
from lmhp.statistics.number_format import (
  format_bytes,
  format_long_duration,
  format_with_unit,
)

_UNBOUNDED_WIDTH = 10_000


class Row(NamedTuple):
  """One row of the table.

  Attributes:
    name: Name of the count.
    cells: Text of the count for each model.
  """

  name: str
  cells: list[str]


def print_table(
  descriptions: Sequence[ModelDescription], console: Console | None = None
) -> None:
  """Prints the counts of models side by side.

  The table is as wide as its content, so that no number is folded.

  Args:
    descriptions: Counts of each model.
    console: Console to print to. None stands for the terminal.

  >>> import io
  >>> from lmhp.counting.description import describe
  >>> from lmhp.model.config import ModelConfig
  >>> description = describe('small', ModelConfig(vocab_size=65, d_model=128))
  >>> output = io.StringIO()
  >>> print_table([description], Console(file=output))
  >>> 'sequence length' in output.getvalue()
  True
  """
  console = console or Console()
  table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
  table.add_column('', no_wrap=True)
  for description in descriptions:
    table.add_column(escape(description.name), justify='right', no_wrap=True)
  for row in table_rows(descriptions):
    table.add_row(row.name, *row.cells)
  # The width of the table if nothing limited it.
  unbounded = console.options.update(max_width=_UNBOUNDED_WIDTH)
  width = Measurement.get(console, unbounded, table).maximum
  console.width = max(console.width, width)
  console.print(table)


def table_rows(descriptions: Sequence[ModelDescription]) -> list[Row]:
  """Returns the rows of the table.

  Args:
    descriptions: Counts of each model. All or none of them have activations, and a training
      cost on the same device.

  >>> from lmhp.counting.description import describe
  >>> from lmhp.model.config import ModelConfig
  >>> cfg = ModelConfig(vocab_size=65, d_model=128, max_seq_len=64, position='learned')
  >>> table_rows([describe('small', cfg)])[0]
  Row(name='parameters', cells=['804,096'])
  """
  if not descriptions:
    return []
  return [
    *_parameter_rows(descriptions),
    *_flops_rows(descriptions),
    *_memory_rows(descriptions),
    *_training_rows([description.training for description in descriptions]),
  ]


def _row(
  name: str,
  descriptions: Sequence[ModelDescription],
  cell: Callable[[ModelDescription], str],
) -> Row:
  return Row(name, [cell(description) for description in descriptions])


def _parameter_rows(descriptions: Sequence[ModelDescription]) -> list[Row]:
  rows = [_row('parameters', descriptions, lambda d: f'{d.counts.total:,}')]
  # Kinds that no model has are left out.
  for kind in descriptions[0].counts.by_kind:
    numbers = [description.counts.by_kind[kind] for description in descriptions]
    totals = [description.counts.total for description in descriptions]
    if any(numbers):
      cells = [f'{n:,}  {n / total:6.1%}' for n, total in zip(numbers, totals)]
      rows.append(Row(f'  {kind}', cells))
  # Active parameters differ from all only with experts.
  if any(description.counts.inactive for description in descriptions):
    rows.append(_row('active', descriptions, lambda d: f'{d.counts.active:,}'))
    rows.append(
      _row(
        'active without embedding',
        descriptions,
        lambda d: f'{d.counts.active_excluding_embedding:,}',
      )
    )
  rows.append(
    _row('non-embedding', descriptions, lambda d: f'{d.counts.non_embedding:,}')
  )
  return rows


def _flops_rows(descriptions: Sequence[ModelDescription]) -> list[Row]:
  rows = [_row('sequence length', descriptions, lambda d: f'{d.seq_len:,}')]
  for convention in ('causal', 'full'):
    cells = [
      format_with_unit(description.flops_per_token_forward[convention])
      for description in descriptions
    ]
    rows.append(Row(f'forward FLOPs/token, {convention}', cells))
  for convention in ('causal', 'full'):
    cells = [
      format_with_unit(description.flops_per_token_train[convention])
      for description in descriptions
    ]
    rows.append(Row(f'training FLOPs/token, {convention}', cells))
  return rows


def _memory_rows(descriptions: Sequence[ModelDescription]) -> list[Row]:
  rows = [
    _row(
      'KV cache/token, bf16',
      descriptions,
      lambda d: format_bytes(d.kv_cache_bytes_per_token),
    ),
    _row(
      'parameters, float32',
      descriptions,
      lambda d: format_bytes(parameter_bytes(d.counts)),
    ),
    _row(
      'gradients, float32',
      descriptions,
      lambda d: format_bytes(parameter_bytes(d.counts)),
    ),
    _row(
      'AdamW state, float32',
      descriptions,
      lambda d: format_bytes(optimizer_bytes(d.counts)),
    ),
  ]
  by_model = [description.activation_bytes or {} for description in descriptions]
  for policy in by_model[0]:
    cells = [format_bytes(by_policy[policy]) for by_policy in by_model]
    rows.append(Row(f'activations, remat {policy}', cells))
  return rows


def _training_rows(costs: Sequence[TrainingCost | None]) -> list[Row]:
  known = [cost for cost in costs if cost is not None]
  if not known:
    return []
  first = known[0]
  return [
    Row('training tokens', [format_with_unit(cost.tokens) for cost in known]),
    Row('training FLOPs', [f'{cost.flops:.3g}' for cost in known]),
    Row(
      f'on {first.device} at {first.utilization:.0%}',
      [format_long_duration(cost.device_seconds) for cost in known],
    ),
    Row('cost', [f'${cost.cost_usd:,.2f}' for cost in known]),
  ]
