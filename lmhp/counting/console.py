"""Counts of several models as a table on the terminal, one column for each model."""

from __future__ import annotations

from collections.abc import Sequence
import math
from typing import NamedTuple

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.measure import Measurement
from rich.table import Table

from lmhp.counting.description import ModelDescription, TrainingCost
from lmhp.counting.memory import optimizer_bytes, parameter_bytes
from lmhp.params import KINDS
from lmhp.statistics.number_format import (
  format_bytes,
  format_long_duration,
  format_with_unit,
)

_UNBOUNDED_WIDTH = 10_000
"""Width of a console, in characters, that is wider than any table."""


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

  The table may be wider than the terminal, so that no number is broken into two lines.

  Args:
    descriptions: Counts of each model.
    console: Console to print to. None stands for the terminal.

  >>> import io
  >>> from lmhp.counting.counted_model import CountedModel
  >>> from lmhp.counting.description import describe
  >>> from lmhp.model.config import ModelConfig
  >>> model = CountedModel('small', ModelConfig(vocab_size=65, d_model=128))
  >>> description = describe(model)
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
  # Measure the width of the table without the limit of the terminal, and use that width.
  unbounded = console.options.update(max_width=_UNBOUNDED_WIDTH)
  width = Measurement.get(console, unbounded, table).maximum
  console.width = max(console.width, width)
  console.print(table)
  for description in descriptions:
    for note in description.notes:
      console.print(escape(f'{description.name}: {note}'), soft_wrap=True)


def table_rows(descriptions: Sequence[ModelDescription]) -> list[Row]:
  """Returns the rows of the table.

  Args:
    descriptions: Counts of each model. `activation_bytes` is set in all of them or in none.
      `training` is also set in all of them or in none, with the same device in all.

  >>> from lmhp.counting.counted_model import CountedModel
  >>> from lmhp.counting.description import describe
  >>> from lmhp.model.config import ModelConfig
  >>> cfg = ModelConfig(vocab_size=65, d_model=128, max_seq_len=64, position='learned')
  >>> table_rows([describe(CountedModel('small', cfg))])[0]
  Row(name='parameters', cells=['804,096'])
  """
  rows = _parameter_rows(descriptions) + _flops_and_memory_rows(descriptions)

  # The training cost is set for all models or for none.
  costs = [d.training for d in descriptions if d.training is not None]
  if costs:
    device = f'on {costs[0].device} at {costs[0].utilization:.0%}'
    rows += [
      Row('training tokens', [format_with_unit(cost.tokens) for cost in costs]),
      Row('training FLOPs', [f'{cost.flops:.3g}' for cost in costs]),
      Row(device, [_device_time(cost.device_seconds) for cost in costs]),
      Row('cost', [f'${cost.cost_usd:,.2f}' for cost in costs]),
      Row(f'fits on one {costs[0].device}', [_fit(cost) for cost in costs]),
    ]
  return rows


def _device_time(seconds: float) -> str:
  """Returns the time on one device. Long times are in hours, because devices share them."""
  hours = seconds / 3600
  if hours < 2:
    return format_long_duration(seconds)
  return f'{float(f"{hours:.3g}"):,g} hours' if hours < 100 else f'{hours:,.0f} hours'


def _fit(cost: TrainingCost) -> str:
  """Returns if the training fits into the memory of one device, by the estimate."""
  if not cost.memory_bytes:
    return 'unknown'
  share = cost.needed_bytes / cost.memory_bytes
  if share <= 1:
    return f'yes, about {share:.0%} of its memory'
  return f'no, {math.ceil(share):,} devices at least'


def _parameter_rows(descriptions: Sequence[ModelDescription]) -> list[Row]:
  counts = [description.counts for description in descriptions]
  rows = [Row('parameters', [f'{c.total:,}' for c in counts])]
  # Leave out a kind (such as 'positional') if no model has parameters of this kind.
  for kind in KINDS:
    if any(c.by_kind[kind] for c in counts):
      cells = [f'{c.by_kind[kind]:,}  {c.by_kind[kind] / c.total:6.1%}' for c in counts]
      rows.append(Row(f'  {kind}', cells))
  # Without experts, all parameters are active, and the rows would repeat the total.
  if any(c.inactive for c in counts):
    cells = [f'{c.active_excluding_embedding:,}' for c in counts]
    rows.append(Row('active', [f'{c.active:,}' for c in counts]))
    rows.append(Row('active without embedding', cells))
  return [*rows, Row('non-embedding', [f'{c.non_embedding:,}' for c in counts])]


def _flops_and_memory_rows(descriptions: Sequence[ModelDescription]) -> list[Row]:
  rows = [Row('sequence length', [f'{d.seq_len:,}' for d in descriptions])]
  # 'causal' counts only the pairs of tokens that the attention mask keeps, 'full' all pairs.
  by_pass = {
    'forward': [d.flops_per_token_forward for d in descriptions],
    'training': [d.flops_per_token_train for d in descriptions],
  }
  for name, flops in by_pass.items():
    for convention in ('causal', 'full'):
      cells = [format_with_unit(by_convention[convention]) for by_convention in flops]
      rows.append(Row(f'{name} FLOPs/token, {convention}', cells))

  if any(d.torchtitan for d in descriptions):
    cells = [
      format_with_unit(d.torchtitan.train) if d.torchtitan else '' for d in descriptions
    ]
    rows.append(Row('training FLOPs/token, torchtitan', cells))

  cache = [format_bytes(d.kv_cache_bytes_per_token) for d in descriptions]
  parameters = [format_bytes(parameter_bytes(d.counts)) for d in descriptions]
  adamw_state = [format_bytes(optimizer_bytes(d.counts)) for d in descriptions]
  # The gradients have the size of the parameters.
  rows += [
    Row('KV cache/token, bf16', cache),
    Row('parameters, float32', parameters),
    Row('gradients, float32', parameters),
    Row('AdamW state, float32', adamw_state),
  ]
  # {rematerialization policy: bytes} of each model. Empty without a batch size.
  by_model = [d.activation_bytes or {} for d in descriptions]
  for policy in by_model[0]:
    cells = [format_bytes(by_policy[policy]) for by_policy in by_model]
    rows.append(Row(f'activations, remat {policy}', cells))
  return rows + _training_memory_rows(descriptions)


def _training_memory_rows(descriptions: Sequence[ModelDescription]) -> list[Row]:
  memories = [d.memory for d in descriptions if d.memory is not None]
  if not memories:
    return []
  rows = []
  for policy in memories[0].estimated:
    cells = [format_bytes(memory.estimated[policy]) for memory in memories]
    rows.append(Row(f'training, remat {policy}, estimate', cells))
  if memories[0].compiled is not None:
    cells = [
      f'{format_bytes(memory.compiled or 0)} (remat {memory.remat})'
      for memory in memories
    ]
    name = f'training, compiled on {memories[0].platform}'
    rows.append(Row(name, cells))
  return rows
