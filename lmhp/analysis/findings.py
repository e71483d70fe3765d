"""Findings of a study: statements with their numbers, and a registry of rules that make them.

A rule is a function from results of the analysis to findings. `register_finding` adds one:

    def few_seeds(runs: Runs) -> list[Finding]:
      ...

    register_finding('few_seeds', needs=('runs',), rule=few_seeds)

`lmhp.analysis.advice.rules` lists the rules of lmhp. A plugin or an experiment file
registers others in the same way.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
import dataclasses
import inspect
from typing import Literal, Protocol

from lmhp.analysis.phrases import amount, listed, setting
from lmhp.errors import ConfigError
from lmhp.registry import Registry

Level = Literal['answer', 'warning', 'advice', 'note']
LEVELS: tuple[Level, ...] = ('answer', 'warning', 'advice', 'note')
"""Purposes of a finding: the answer of the study, a reason to doubt it, a next step, and a
further observation."""


class Proposal(Protocol):
  """A domain of one hyperparameter that the next study should search."""

  def to_code(self) -> str:
    """Returns the domain as code for a search space, such as `Float(0.1, 1.0)`."""
    ...

  def describe(self) -> str:
    """Returns the domain in words, such as "from 0.1 to 1"."""
    ...


@dataclasses.dataclass(frozen=True)
class ProposedRange:
  """A range of numbers to search. It is a range of integers if both ends are ints.

  Attributes:
    low: Smallest value.
    high: Largest value.
    log: True to search in logarithms.

  >>> ProposedRange(0.001, 0.1, log=True).to_code(), ProposedRange(2, 8).to_code()
  ('Float(0.001, 0.1, log=True)', 'Int(2, 8)')
  """

  low: float
  high: float
  log: bool = False

  def to_code(self) -> str:
    """Returns the range as code for a search space."""
    log = ', log=True' if self.log else ''
    if isinstance(self.low, int) and isinstance(self.high, int):
      return f'Int({self.low}, {self.high}{log})'
    return f'Float({float(f"{self.low:.4g}")}, {float(f"{self.high:.4g}")}{log})'

  def describe(self) -> str:
    """Returns the range in words."""
    return f'from {amount(self.low)} to {amount(self.high)}'


@dataclasses.dataclass(frozen=True)
class ProposedChoices:
  """Values to choose from.

  Attributes:
    choices: The values.

  >>> ProposedChoices(('cosine', 'wsd')).to_code()
  "Choice('cosine', 'wsd')"
  """

  choices: tuple[object, ...]

  def to_code(self) -> str:
    """Returns the values as code for a search space."""
    return f'Choice({", ".join(map(repr, self.choices))})'

  def describe(self) -> str:
    """Returns the values in words."""
    return f'among {listed([setting(choice) for choice in self.choices])}'


@dataclasses.dataclass(frozen=True)
class Finding:
  """One finding.

  Attributes:
    kind: Name of the finding, such as 'optimum_at_bound'.
    level: One of `LEVELS`.
    title: One sentence with the most important number, in plain text.
    evidence: Further sentences: how it was measured, on how many runs, how certain it is.
    numbers: The numbers of title and evidence by name, as JSON can hold them.
    axes: Names of the hyperparameters that it concerns.
    runs: Numbers of the runs that it concerns.
    proposal: {axis: domain} that the next study should search. Empty without a proposal.
    effect_nats: Size of the effect in nats (or in the unit of the objective), by which
      findings of one level are ranked. 0 if unknown.
  """

  kind: str
  level: Level
  title: str
  evidence: str = ''
  numbers: Mapping[str, object] = dataclasses.field(default_factory=dict)
  axes: Sequence[str] = ()
  runs: Sequence[int] = ()
  proposal: Mapping[str, Proposal] = dataclasses.field(default_factory=dict)
  effect_nats: float = 0.0


def ranked(findings: Sequence[Finding]) -> list[Finding]:
  """Returns findings by level, and then by falling size of their effect."""
  return sorted(findings, key=lambda f: (LEVELS.index(f.level), -abs(f.effect_nats)))


def next_space(findings: Sequence[Finding]) -> dict[str, Proposal]:
  """Returns {axis: domain} of all proposals. The first finding of an axis counts."""
  space: dict[str, Proposal] = {}
  for finding in findings:
    for axis, domain in finding.proposal.items():
      space.setdefault(axis, domain)
  return space


# --- registry ---------------------------------------------------------------------------

Rule = Callable[..., Sequence[Finding]]
"""Function of results of the analysis, which are its keyword arguments."""


@dataclasses.dataclass(frozen=True)
class FindingRule:
  """A rule that makes findings.

  Attributes:
    needs: Names of the results of the analysis that the rule takes.
    rule: The rule.
    for_single_run: True if the report of a single run has these findings too.
  """

  needs: tuple[str, ...]
  rule: Rule
  for_single_run: bool = False


FINDINGS: Registry[FindingRule] = Registry('finding')
"""Rules by name, in the order in which findings of equal rank are listed."""


def register_finding(
  name: str, *, needs: Sequence[str], rule: Rule, for_single_run: bool = False
) -> None:
  """Registers a rule that makes findings.

  Args:
    name: Name of the rule, usually the kind of its findings.
    needs: Names of the results of the analysis that the rule takes as keyword arguments.
      They are attributes of `lmhp.analysis.analysis.Analysis`.
    rule: Function from these results to findings.
    for_single_run: True if the report of a single training run should have these findings
      too.

  Raises:
    ConfigError: If another module has registered this name, or the parameters of the rule
      are not its needs.

  >>> def few_seeds(runs):
  ...   return []
  >>> register_finding(
  ...   'few_seeds', needs=('winner',), rule=few_seeds
  ... )  # doctest: +ELLIPSIS
  Traceback (most recent call last):
    ...
  lmhp.errors.ConfigError: finding 'few_seeds': got needs winner, expected ...
  """
  check_needs(f'finding {name!r}', needs, rule)
  FINDINGS.register(name, FindingRule(tuple(needs), rule, for_single_run))


def check_needs(
  entry: str, needs: Sequence[str], function: Callable[..., object]
) -> None:
  """Checks that a function has its needs as parameters.

  Args:
    entry: Kind and name of the entry, for the error message.
    needs: Names of results of the analysis.
    function: Function of the entry.

  Raises:
    ConfigError: If they differ.
  """
  parameters = list(inspect.signature(function).parameters)
  if set(parameters) != set(needs):
    raise ConfigError(
      f'{entry}: got needs {", ".join(needs) or "(none)"}, expected the parameters of its '
      f'function: {", ".join(parameters) or "(none)"}'
    )
