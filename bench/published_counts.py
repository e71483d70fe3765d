"""Counts of published config.json files beside those of transformers.

    python bench/published_counts.py DIRECTORY [--save FILE]

DIRECTORY has clones, each as OWNER+NAME/repo (a bare git directory). Nothing is fetched. Each JSON
file with a model_type that lmhp has is counted by lmhp, as its owner published it, and by the
class of transformers that it names, on the meta device. At most three files of one model_type,
width and depth are counted. --save writes a table with the sha256 of each file and both counts.

docs/published_counts.tsv is such a table, of 2026-11-30 and transformers 5.24.
"""

from __future__ import annotations

import argparse
import collections
import copy
import csv
import dataclasses
import hashlib
import json
from pathlib import Path
import subprocess
import sys
from typing import Any

import torch
import transformers

from lmhp.errors import ConfigError
from lmhp.hub.config_json import parse
from lmhp.hub.families import FAMILIES
from lmhp.hub.published import published_model

MAX_BYTES = 200_000
MAX_ALIKE = 3
WIDTHS = ('hidden_size', 'd_model', 'n_embd')
DEPTHS = ('num_hidden_layers', 'n_layer', 'n_layers', 'num_layers')
MASKED = ('bert', 'roberta', 'albert', 'modernbert')


@dataclasses.dataclass(frozen=True)
class Counted:
  """A file and its counts. A count is the message of an error if the file is refused."""

  sha256: str
  repository: str
  model_type: str
  lmhp: int | str
  transformers: int | str

  @property
  def agrees(self) -> bool:
    """True if both counts are the same, or if both refuse the file."""
    if isinstance(self.transformers, str):
      return isinstance(self.lmhp, str)
    return self.lmhp == self.transformers


def main() -> None:
  """Prints the files whose counts differ, and the number of equal ones."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument('directory', type=Path)
  parser.add_argument('--save', type=Path)
  values = parser.parse_args()
  transformers.logging.set_verbosity_error()

  rows = []
  n_alike: collections.Counter[tuple[str, Any, Any]] = collections.Counter()
  seen: set[str] = set()
  for repository in sorted(values.directory.glob('*+*')):
    for text in json_files(repository / 'repo'):
      config = readable(text)
      digest = hashlib.sha256(text).hexdigest()
      if config is None or digest in seen:
        continue
      seen.add(digest)
      kind = (config['model_type'], first(config, WIDTHS), first(config, DEPTHS))
      n_alike[kind] += 1
      if n_alike[kind] <= MAX_ALIKE:
        row = Counted(
          digest, repository.name, kind[0], lmhp_count(text), torch_count(config)
        )
        rows.append(row)
        if not row.agrees:
          print(row)
  print(f'{sum(row.agrees for row in rows)} of {len(rows)} agree')
  n_equal = sum(row.lmhp == row.transformers for row in rows)
  print(f'{n_equal} of {len(rows)} are counted equal')
  if values.save:
    with values.save.open('w', newline='') as file:
      writer = csv.writer(file, delimiter='\t', lineterminator='\n')
      writer.writerow([field.name for field in dataclasses.fields(Counted)])
      writer.writerows(dataclasses.astuple(row) for row in rows)


def json_files(repository: Path):
  """Yields the contents of the JSON files of a bare git directory."""

  def git(*arguments: str) -> bytes:
    command = ['git', '--git-dir', str(repository), *arguments]
    return subprocess.run(command, capture_output=True, check=True).stdout

  for line in git('ls-tree', '-r', '-l', 'HEAD').decode().splitlines():
    meta, path = line.split('\t', 1)
    _, _, blob, size = meta.split()
    if path.endswith('.json') and size.isdigit() and int(size) <= MAX_BYTES:
      yield git('cat-file', 'blob', blob)


def readable(text: bytes) -> dict[str, Any] | None:
  """Returns the object of a config.json of a family that lmhp has, or None."""
  try:
    config = json.loads(text) if b'model_type' in text else None
  except ValueError:
    return None
  is_known = isinstance(config, dict) and config.get('model_type') in list(FAMILIES)
  return config if is_known else None


def first(config: dict[str, Any], keys: tuple[str, ...]) -> Any:
  """Returns the value of the first key that is present."""
  return next((config[key] for key in keys if key in config), None)


def lmhp_count(text: bytes) -> int | str:
  """Returns the number of parameters, or the message of an error."""
  try:
    return published_model(parse(text, 'file'), 'file', 'file').parameters().total
  except ConfigError as error:
    return str(error).removeprefix('file: ')


def torch_count(config: dict[str, Any]) -> int | str:
  """Returns the number of parameters of the class of transformers, or an error."""
  keys = copy.deepcopy(config)
  for key in ('quantization_config', 'auto_map'):
    keys.pop(key, None)
  model_type = keys.pop('model_type')
  try:
    full = transformers.AutoConfig.for_model(model_type, **keys)
    # lmhp counts the language model of gemma3.
    full = full.text_config if model_type == 'gemma3' else full
    names = config.get('architectures') or ['']
    named = getattr(transformers, str(names[0]), None)
    with torch.device('meta'):
      if named is None or model_type == 'gemma3':
        model = default_class(model_type).from_config(full)
      else:
        model = named(full)
  except Exception as error:  # transformers raises many classes.
    return f'{type(error).__name__}: {" ".join(str(error).split())[:80]}'
  return sum(parameter.numel() for parameter in model.parameters())


def default_class(model_type: str) -> Any:
  """Returns the class of language models of a type."""
  if model_type in MASKED:
    return transformers.AutoModelForMaskedLM
  if model_type == 't5':
    return transformers.AutoModelForSeq2SeqLM
  return transformers.AutoModelForCausalLM


if __name__ == '__main__':
  sys.exit(main())
