"""A report as data: sentences, findings, tables and figures, without any HTML.

The renderers of `lmhp.analysis.report.render` turn it into HTML, Markdown and JSON. A figure
holds the JSON of Plotly, data and layout, as dicts of NumPy arrays and lists. A colour in it is
a token such as '$blue' (see `figures.style.PALETTES`), so that one figure suits a light and a
dark page.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
import dataclasses
import json
import math
from typing import Literal, TypeAlias

import numpy as np

from lmhp.analysis.findings import Finding
from lmhp.analysis.phrases import is_number, number
from lmhp.statistics.number_format import MISSING
from lmhp.typing import JSON

PlotlyDict: TypeAlias = dict[str, object]
"""A trace, a layout or a part of one, as Plotly's JSON has it."""

ColumnKind = Literal['number', 'text', 'run']
PACKED_FROM = 256
"""Length of an array from which base64 is shorter and faster than digits."""


@dataclasses.dataclass(frozen=True)
class Text:
  """A paragraph of plain text."""

  text: str


@dataclasses.dataclass(frozen=True)
class Column:
  """A column of a table.

  Attributes:
    name: Heading of the column.
    unit: Unit of its numbers. Empty if they have none.
    kind: 'number', 'text', or 'run' for run numbers, which open the config of the run.
  """

  name: str
  unit: str = ''
  kind: ColumnKind = 'number'


@dataclasses.dataclass(frozen=True)
class Table:
  """A table.

  Attributes:
    id: Name of the table, unique in its report.
    title: Heading.
    columns: Columns.
    rows: Rows with one value per column. None or NaN for a missing value.
    caption: One sentence above the table.

  >>> table = Table('best', 'Best trials', [Column('loss', 'nats')], [(1.8,)])
  >>> table.columns[0].unit
  'nats'
  """

  id: str
  title: str
  columns: Sequence[Column]
  rows: Sequence[Sequence[object]]
  caption: str = ''

  def __post_init__(self) -> None:
    for row in self.rows:
      if len(row) != len(self.columns):
        raise ValueError(
          f'table {self.id!r}: got a row of {len(row)} values, expected '
          f'{len(self.columns)}'
        )


@dataclasses.dataclass(frozen=True)
class View:
  """Another view of a figure, such as another horizontal axis.

  Attributes:
    label: Text of the button that shows the view.
    data: Changes of each trace.
    layout: Changes of the layout.
  """

  label: str
  data: Sequence[PlotlyDict]
  layout: PlotlyDict = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Figure:
  """A figure.

  Attributes:
    id: Name of the figure, unique in its report.
    title: Heading.
    caption: One sentence that states the result.
    data: Traces of Plotly. A trace whose `meta` is 'run' has run numbers in `customdata`.
    layout: Layout of Plotly.
    height: Height in pixels.
    views: Views of the figure. The first one is shown first. Empty if there is only one.
  """

  id: str
  title: str
  caption: str
  data: Sequence[PlotlyDict]
  layout: PlotlyDict
  height: int = 380
  views: Sequence[View] = ()


Block: TypeAlias = Text | Table | Figure


@dataclasses.dataclass(frozen=True)
class Section:
  """A part of the report under one heading.

  Attributes:
    id: Name of the section, unique in its report.
    title: Heading.
    blocks: Paragraphs, tables and figures, in order.
  """

  id: str
  title: str
  blocks: Sequence[Block]


@dataclasses.dataclass(frozen=True)
class Report:
  """Content of a report.

  Attributes:
    title: Name of the study.
    answer: Sentences of the answer, at most three.
    basis: Sentences about what was compared, and how the source was read.
    findings: Findings, ranked.
    sections: Sections with figures and tables.
    trials: Table with one row per run, and a column of kind 'run'. None if there is none.
    configs: {dotted path: value} of the config of each run, by its number.
    method: Paragraphs about the methods.
    caveats: Paragraphs about the limits of the report.
    about: Origin of the runs: versions, data hash, command. Each is a text, a number or a
      mapping.
  """

  title: str
  answer: Sequence[str]
  basis: Sequence[str] = ()
  findings: Sequence[Finding] = ()
  sections: Sequence[Section] = ()
  trials: Table | None = None
  configs: Mapping[int, Mapping[str, object]] = dataclasses.field(default_factory=dict)
  method: Sequence[str] = ()
  caveats: Sequence[str] = ()
  about: Mapping[str, object] = dataclasses.field(default_factory=dict)

  def figures(self) -> list[Figure]:
    """Returns all figures in order."""
    return [
      block
      for section in self.sections
      for block in section.blocks
      if isinstance(block, Figure)
    ]

  def tables(self) -> list[Table]:
    """Returns all tables in order. The trials are the last one."""
    tables = [
      block
      for section in self.sections
      for block in section.blocks
      if isinstance(block, Table)
    ]
    return tables if self.trials is None else [*tables, self.trials]


# --- text of the cells -----------------------------------------------------------------


def formatted_columns(table: Table) -> list[list[str]]:
  """Returns the text of each cell, by column. Numbers of a column have one format.

  >>> columns = [Column('loss'), Column('name', kind='text')]
  >>> formatted_columns(Table('t', '', columns, [(3.21234, 'a'), (None, True)]))
  [['3.212', '–'], ['a', 'yes']]
  """
  return [
    aligned_texts(values) if column.kind == 'number' else list(map(cell_text, values))
    for column, values in zip(table.columns, zip(*table.rows))
  ]


def aligned_texts(values: Sequence[object]) -> list[str]:
  """Returns a column as text. Its numbers have equal decimals if they are of similar size.

  >>> aligned_texts([3.21234, 3.3, None])
  ['3.212', '3.300', '–']
  >>> aligned_texts([1e-4, 0.02])
  ['0.0001', '0.02']
  """
  finite = np.array([float(value) for value in values if is_number(value)])
  sizes = np.abs(finite[finite != 0])
  texts = list(map(cell_text, values))
  if np.all(finite == np.round(finite)):
    return texts
  decimals = max(0, 3 - math.floor(math.log10(sizes.max())))
  is_wide = sizes.max() >= 1e6 or sizes.max() < 1e-2 or sizes.max() > 30 * sizes.min()
  for i, value in enumerate(values):
    if is_number(value):
      texts[i] = number(value, 3) if is_wide else f'{value:,.{decimals}f}'
  return texts


def cell_text(value: object) -> str:
  """Returns any value as the text of a cell."""
  if value is None or isinstance(value, float) and math.isnan(value):
    return MISSING
  if isinstance(value, (bool, np.bool_)):
    return 'yes' if value else 'no'
  if is_number(value):
    return number(value)
  return (
    value
    if isinstance(value, str)
    else json.dumps(value, default=str, ensure_ascii=False)
  )


# --- strict JSON ------------------------------------------------------------------------


def to_strict_json(value: object, packed: bool = False) -> JSON:
  """Returns a value as strict JSON can hold it.

  A number that is not finite becomes None, a dataclass a dict, and an unknown object its text.

  Args:
    value: Any value.
    packed: If True, long arrays become base64 of their bytes, as Plotly reads them ('dtype',
      'bdata'), in float32 or the shortest integer. NaN stays in them.

  >>> to_strict_json({'loss': np.array([1.5, np.nan]), 'n': np.int64(3)})
  {'loss': [1.5, None], 'n': 3}
  """
  if isinstance(value, np.ndarray):
    # Long rows of numbers are packed, which makes the page smaller.
    is_long = packed and value.ndim == 1 and value.size >= PACKED_FROM
    if is_long and value.dtype.kind in 'fiu':
      return _pack(value)
    value = value.tolist()
  if isinstance(value, np.generic):
    value = value.item()
  if value is None or isinstance(value, (bool, int, str)):
    return value
  # Strict JSON has no NaN and no infinity.
  if isinstance(value, float):
    return value if math.isfinite(value) else None
  if dataclasses.is_dataclass(value) and not isinstance(value, type):
    value = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
  if isinstance(value, Mapping):
    return {str(key): to_strict_json(item, packed) for key, item in value.items()}
  if isinstance(value, (set, frozenset)):
    value = sorted(value, key=repr)
  if isinstance(value, (list, tuple)):
    return [to_strict_json(item, packed) for item in value]
  return str(value)


def _pack(values: np.ndarray) -> dict[str, JSON]:
  """Returns an array as Plotly's typed array."""
  if values.dtype.kind == 'f':
    dtype = 'f4'
  else:
    largest = abs(values).max()
    # The smallest integer type that holds all values. Plotly has no 64-bit integers.
    fitting = [d for d in ('i1', 'i2', 'i4') if largest <= np.iinfo(d).max]
    dtype = fitting[0] if fitting else 'f8'
  # A float above the largest float32 becomes infinite, and no figure draws it.
  with np.errstate(over='ignore'):
    raw = values.astype(f'<{dtype}').tobytes()
  return {'dtype': dtype, 'bdata': base64.b64encode(raw).decode()}
