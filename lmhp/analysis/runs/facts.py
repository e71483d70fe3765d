"""Facts about a study that belong to no single run."""

from __future__ import annotations

from collections.abc import Mapping
import dataclasses


@dataclasses.dataclass(frozen=True)
class StudyFacts:
  """Facts about a study that belong to no single run.

  Attributes:
    source: Path or URL that the runs were read from. Empty if unknown.
    source_type: 'study', 'run', 'runs', 'table' or 'optuna'. Empty if unknown.
    search: Name of the search method, such as 'random'. Empty if unknown.
    match_budget: Budget that all trials were set to match ('steps', 'tokens', 'flops',
      'seconds' or 'none'). None if the study did not declare one.
    base_config: {dotted path: value} of the base config. Empty if unknown.
    command: Command line that made the runs. Empty if unknown.
    data_sha256: Hash of the training data. Empty if unknown.
    versions: Versions of lmhp and its dependencies, by name.
    device: Accelerator that the runs used.
    git: Commit of the code.
  """

  source: str = ''
  source_type: str = ''
  search: str = ''
  match_budget: str | None = None
  base_config: Mapping[str, object] = dataclasses.field(default_factory=dict)
  command: str = ''
  data_sha256: str = ''
  versions: Mapping[str, object] = dataclasses.field(default_factory=dict)
  device: object = None
  git: object = None
