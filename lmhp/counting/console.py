"""Counts side by side, for a person: one column for each model."""

from __future__ import annotations

from typing import Any, Iterator, Sequence

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.measure import Measurement
from rich.table import Table

Row = tuple[str, Sequence[str]]


def table(reports: Sequence[dict[str, Any]], console: Console | None = None) -> None:
  """Prints what `report.describe` said of one or several models, as wide as it is: no figure is folded."""
  console = console or Console()
  grid = Table(box=box.SIMPLE_HEAD, pad_edge=False)
  grid.add_column('', no_wrap=True)
  for report in reports:
    grid.add_column(escape(report['name']), justify='right', no_wrap=True)
  for name, cells in rows(reports):
    grid.add_row(name, *cells)
  wide = console.options.update(max_width=10_000)
  console.width = max(console.width, Measurement.get(console, wide, grid).maximum)
  console.print(grid)


def rows(reports: Sequence[dict[str, Any]]) -> Iterator[Row]:
  """The table's rows: a name, and a cell for each report."""

  def row(name: str, of) -> Row:
    return name, [of(report) for report in reports]

  yield row('parameters', lambda r: f'{r["total"]:,}')
  for kind in reports[0]['by_kind']:
    if any(r['by_kind'][kind] for r in reports):
      yield row(
        f'  {kind}',
        lambda r: f'{r["by_kind"][kind]:,}  {r["by_kind"][kind] / r["total"]:6.1%}',
      )
  if any(r['active'] != r['total'] for r in reports):
    yield row('active', lambda r: f'{r["active"]:,}')
    yield row(
      'active without embedding', lambda r: f'{r["active_excluding_embedding"]:,}'
    )
  yield row('non-embedding', lambda r: f'{r["non_embedding"]:,}')
  yield row('sequence length', lambda r: f'{r["seq_len"]:,}')
  for name, key in (
    ('forward', 'flops_per_token_forward'),
    ('training', 'flops_per_token_train'),
  ):
    for convention in ('causal', 'full'):
      yield row(
        f'{name} FLOPs/token, {convention}',
        lambda r: amount(r[key][convention], 1000, ('', 'k', 'M', 'G', 'T')),
      )
  yield row('KV cache/token, bf16', lambda r: bytes_of(r['kv_cache_bytes_per_token']))
  yield row('parameters, float32', lambda r: bytes_of(r['parameter_bytes']['float32']))
  yield row('gradients, float32', lambda r: bytes_of(r['gradient_bytes']))
  yield row('AdamW state, float32', lambda r: bytes_of(r['optimizer_bytes']))
  if 'activation_bytes' in reports[0]:
    for policy in reports[0]['activation_bytes']:
      yield row(
        f'activations, remat {policy}',
        lambda r: bytes_of(r['activation_bytes'][policy]),
      )
  if 'training' in reports[0]:
    yield row(
      'training tokens',
      lambda r: amount(r['training']['tokens'], 1000, ('', 'k', 'M', 'G', 'T')),
    )
    yield row('training FLOPs', lambda r: f'{r["training"]["flops"]:.3g}')
    yield row(
      f'on {reports[0]["training"]["device"]} at {reports[0]["training"]["utilization"]:.0%}',
      lambda r: duration(r['training']['device_seconds']),
    )
    yield row('cost', lambda r: f'${r["training"]["cost_usd"]:,.2f}')


def amount(x: float, base: int, units: Sequence[str]) -> str:
  """A number with the unit that leaves one to three digits before the point.

  >>> amount(1_720_576, 1000, ('', 'k', 'M'))
  '1.72 M'
  """
  i = 0
  while abs(x) >= base and i + 1 < len(units):
    x, i = x / base, i + 1
  return f'{x:.3g} {units[i]}'.rstrip() if i or x != int(x) else f'{int(x):,}'


def bytes_of(x: float) -> str:
  """Bytes with a binary unit.

  >>> bytes_of(3 * 1024)
  '3 KiB'
  """
  return amount(x, 1024, ('', 'KiB', 'MiB', 'GiB', 'TiB')) + ('' if x >= 1024 else ' B')


def duration(seconds: float) -> str:
  """Seconds in the unit a person plans with.

  >>> duration(7200)
  '2 hours'
  """
  for size, unit in (
    (365.25 * 86400, 'years'),
    (86400, 'days'),
    (3600, 'hours'),
    (60, 'minutes'),
  ):
    if seconds >= 2 * size or (unit == 'hours' and seconds >= size):
      return f'{seconds / size:,.3g} {unit}'
  return f'{seconds:,.3g} seconds'
