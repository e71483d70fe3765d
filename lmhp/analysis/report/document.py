"""A report before anybody draws it: sentences, findings, tables and figures, and nothing of HTML.

`page`, `markdown` and `json_` each render it. A figure is Plotly's JSON, data and layout, in plain dicts of numpy arrays
and lists; a colour in it is a token such as '$blue' (`drawing.PALETTES`), so that one figure suits light and dark.
"""

from __future__ import annotations

import base64
import dataclasses
import math
from typing import Any, Mapping, Sequence

import numpy as np

from lmhp.analysis.findings import Finding

COLUMN_KINDS = ('number', 'text', 'run')
PACKED_FROM = (
  256  # values in an array from which base64 is shorter and quicker than digits
)


@dataclasses.dataclass(frozen=True)
class Text:
  """Paragraphs of plain text."""

  paragraphs: Sequence[str]

  def __post_init__(self):
    if isinstance(self.paragraphs, str):
      object.__setattr__(self, 'paragraphs', (self.paragraphs,))


@dataclasses.dataclass(frozen=True)
class Column:
  """A table's column; its kind is of `COLUMN_KINDS`, where 'run' is a run's number, which opens the run's config."""

  name: str
  unit: str = ''
  kind: str = 'number'

  def __post_init__(self):
    if self.kind not in COLUMN_KINDS:
      raise ValueError(
        f'column {self.name!r}: got kind {self.kind!r}, expected one of {", ".join(COLUMN_KINDS)}'
      )


@dataclasses.dataclass(frozen=True)
class Table:
  """Rows of as many values as there are columns; a column may be written as (name, unit, kind).

  >>> Table(
  ...   'best', 'The best', [('trial', '', 'run'), ('loss', 'nats')], [(3, 1.8)]
  ... ).columns[1].unit
  'nats'
  """

  id: str
  title: str
  columns: Sequence[Column]
  rows: Sequence[Sequence[Any]]
  caption: str = ''

  def __post_init__(self):
    columns = tuple(
      c if isinstance(c, Column) else Column(c) if isinstance(c, str) else Column(*c)
      for c in self.columns
    )
    object.__setattr__(self, 'columns', columns)
    for row in self.rows:
      if len(row) != len(columns):
        raise ValueError(
          f'table {self.id!r}: got a row of {len(row)} values, expected {len(columns)}'
        )


@dataclasses.dataclass(frozen=True)
class View:
  """Another look at a figure: for each of its traces what changes, and what changes in the layout."""

  label: str
  data: Sequence[Mapping[str, Any]]
  layout: Mapping[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Figure:
  """A figure.

  Attributes:
    id: a word, unique in its report.
    title: a few words.
    caption: one sentence that says what to see.
    data: Plotly's traces. Of a trace whose `meta` is 'run', `customdata` holds the numbers of runs.
    layout: Plotly's layout.
    height: pixels.
    views: others of the same figure, the first as it is drawn at first; () where there is one only.
  """

  id: str
  title: str
  caption: str
  data: Sequence[Mapping[str, Any]]
  layout: Mapping[str, Any]
  height: int = 380
  views: Sequence[View] = ()


@dataclasses.dataclass(frozen=True)
class Section:
  """A part of the report under one heading: `Text`, `Table` and `Figure` in the order to read."""

  id: str
  title: str
  blocks: Sequence[Text | Table | Figure]


@dataclasses.dataclass(frozen=True)
class Report:
  """What a study says.

  Attributes:
    title: of the study.
    answer: three sentences.
    findings: ranked, the most worth first.
    sections: the pictures, and what they say.
    trials: a row for each run, with a column of kind 'run'.
    configs: of each run by number, all that is known of its config, nested or by dotted paths.
    method: paragraphs.
    caveats: paragraphs.
    about: versions, data hash, command, and such, each a text, a number or a mapping of those.
  """

  title: str
  answer: Sequence[str]
  findings: Sequence[Finding] = ()
  sections: Sequence[Section] = ()
  trials: Table | None = None
  configs: Mapping[int, Mapping[str, Any]] = dataclasses.field(default_factory=dict)
  method: Sequence[str] = ()
  caveats: Sequence[str] = ()
  about: Mapping[str, Any] = dataclasses.field(default_factory=dict)

  def figures(self) -> list[Figure]:
    """All figures, in the order to read."""
    return [
      block
      for section in self.sections
      for block in section.blocks
      if isinstance(block, Figure)
    ]

  def tables(self) -> list[Table]:
    """All tables, in the order to read; the trials are the last."""
    found = [
      block
      for section in self.sections
      for block in section.blocks
      if isinstance(block, Table)
    ]
    return found + ([self.trials] if self.trials is not None else [])


def plain(value: Any, packed: bool = False) -> Any:
  """What strict JSON can hold: what is not finite is None, a dataclass a dict, anything unknown its `str`.

  Args:
    value: anything.
    packed: whether long arrays become base64 of their bytes, as Plotly reads them ('dtype', 'bdata'): float32 or the
      shortest integer. In those NaN stays.

  >>> plain({'loss': np.array([1.5, np.nan]), 'n': np.int64(3)})
  {'loss': [1.5, None], 'n': 3}
  """
  if isinstance(value, np.ndarray):
    if (
      packed
      and value.ndim == 1
      and value.size >= PACKED_FROM
      and value.dtype.kind in 'fiu'
    ):
      return _packed(value)
    return [plain(v, packed) for v in value.tolist()]
  if isinstance(value, np.generic):
    value = value.item()
  if value is None or isinstance(value, (bool, int, str)):
    return value
  if isinstance(value, float):
    return value if math.isfinite(value) else None
  if dataclasses.is_dataclass(value) and not isinstance(value, type):
    return {
      f.name: plain(getattr(value, f.name), packed) for f in dataclasses.fields(value)
    }
  if isinstance(value, Mapping):
    return {str(k): plain(v, packed) for k, v in value.items()}
  if isinstance(value, (list, tuple, set, frozenset)):
    return [
      plain(v, packed)
      for v in (
        sorted(value, key=repr) if isinstance(value, (set, frozenset)) else value
      )
    ]
  return str(value)


def _packed(values: np.ndarray) -> dict[str, str]:
  dtype = (
    'f4'
    if values.dtype.kind == 'f'
    else next(
      d
      for d in ('i1', 'i2', 'i4', 'f8')
      if d == 'f8' or abs(values).max() <= np.iinfo(d).max
    )
  )
  with np.errstate(
    over='ignore'
  ):  # past float32's largest is infinity, which no figure draws
    return {
      'dtype': dtype,
      'bdata': base64.b64encode(values.astype(f'<{dtype}').tobytes()).decode(),
    }
