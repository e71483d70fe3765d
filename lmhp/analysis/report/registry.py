"""Registry of the figures, tables and paragraphs of a study's report.

An entry names the results of the analysis that it needs, and the section of the page:

    def seeds_figure(runs: Runs) -> Figure | None:
      ...

    register_figure('seeds', section='search', needs=('runs',), draw=seeds_figure)

`lmhp.analysis.report.contents` lists the entries of lmhp. A plugin or an experiment file
registers others in the same way.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
import dataclasses

from lmhp.analysis.findings import check_needs
from lmhp.analysis.report.document import Block, Table
from lmhp.errors import ConfigError, suggest
from lmhp.registry import Registry

SECTIONS = {
  'winner': 'The winner',
  'effects': 'Effects of hyperparameters',
  'search': 'The search',
  'training': 'Training',
  'sizes': 'Size and cost',
}
"""{name of a section: its heading}, in the order of the page."""

Drawn = Block | Sequence[Block | None] | None
Draw = Callable[..., Drawn]
"""Function of results of the analysis, which are its keyword arguments. It returns a figure, a
table or a paragraph, several of them, or None."""


@dataclasses.dataclass(frozen=True)
class FigureEntry:
  """An entry that draws a part of the report.

  Attributes:
    section: Name of the section, one of `SECTIONS`.
    needs: Names of the results of the analysis that it takes.
    draw: Function that draws it.
  """

  section: str
  needs: tuple[str, ...]
  draw: Draw


FIGURES: Registry[FigureEntry] = Registry('figure')
"""Entries by name, in the order in which they follow each other in a section."""


def register_figure(
  name: str, *, section: str, needs: Sequence[str], draw: Draw
) -> None:
  """Registers a figure, a table or a paragraph of a study's report.

  Args:
    name: Name of the entry.
    section: Name of the section of the page, one of `SECTIONS`.
    needs: Names of the results of the analysis that `draw` takes as keyword arguments. They
      are attributes of `lmhp.analysis.analysis.Analysis`.
    draw: Function from these results to a block, several blocks, or None.

  Raises:
    ConfigError: If another module has registered this name, there is no such section, or the
      parameters of `draw` are not its needs.

  >>> def seeds_figure(runs):
  ...   return None
  >>> register_figure(  # doctest: +ELLIPSIS
  ...   'seeds', section='seeds', needs=('runs',), draw=seeds_figure
  ... )
  Traceback (most recent call last):
    ...
  lmhp.errors.ConfigError: figure 'seeds': got section 'seeds', expected one of winner, ...
  """
  if section not in SECTIONS:
    raise ConfigError(
      f'figure {name!r}: got section {section!r}, expected one of {", ".join(SECTIONS)}'
      f'{suggest(section, SECTIONS)}'
    )
  check_needs(f'figure {name!r}', needs, draw)
  FIGURES.register(name, FigureEntry(section, tuple(needs), draw))


def blocks_of(drawn: Drawn) -> list[Block]:
  """Returns drawn blocks as a list, without empty tables."""
  blocks = drawn if isinstance(drawn, Sequence) else [drawn]
  return [
    block
    for block in blocks
    if block is not None and (not isinstance(block, Table) or block.rows)
  ]
