"""The commands `lmhp generate`, `lmhp import` and `lmhp export`."""

from __future__ import annotations

from lmhp.commands.flags import CommandParser, number
from lmhp.errors import ConfigError


def generate(arguments: list[str]) -> int:
  """Continues a text with a trained or pretrained model."""
  parser = CommandParser('generate', 'Continue a text with a trained model.')
  parser.add_argument(
    'workdir', nargs='*', help='directory of a run, or Hugging Face model directory'
  )
  parser.add_argument(
    '--prompt', default='\n', help='text to continue (default: a line break)'
  )
  parser.add_argument(
    '--n_tokens',
    type=number(1, kind=int),
    help='tokens to add; by default 200, or fewer if the context of the model is shorter',
  )
  parser.add_argument(
    '--temperature',
    type=number(0.0),
    default=0.8,
    help='divisor of the logits (default 0.8); 0 takes the most likely token',
  )
  parser.add_argument(
    '--top_k', type=number(1, kind=int), help='draw from the k most likely tokens only'
  )
  parser.add_argument(
    '--seed', type=int, default=0, help='random seed of the sampling (default 0)'
  )
  values = parser.parse(arguments)
  if len(values.workdir) != 1:
    raise ConfigError(
      f'generate: got {len(values.workdir)} directories, expected exactly one: the directory '
      'of a run, or a Hugging Face model directory'
    )

  # The import loads JAX, which is slow, so it follows the checks of the flags.
  from lmhp import api

  print(
    api.generate(
      values.workdir[0],
      values.prompt,
      n_tokens=values.n_tokens,
      temperature=values.temperature,
      top_k=values.top_k,
      seed=values.seed,
    )
  )
  return 0


def import_(arguments: list[str]) -> int:
  """Writes an experiment file that fine-tunes a pretrained model."""
  parser = CommandParser(
    'import',
    'Write an experiment file that fine-tunes the model of a Hugging Face directory. All '
    'tensors of the directory are read, to check that lmhp can use them.',
  )
  parser.add_argument(
    'path', nargs='*', help='directory with config.json and safetensors'
  )
  parser.add_argument(
    '--output',
    help='experiment file to write; by default NAME.py for a directory NAME',
  )
  values = parser.parse(arguments)
  if len(values.path) != 1:
    raise ConfigError(
      f'import: got {len(values.path)} directories, expected exactly one, with config.json '
      'and safetensors'
    )

  from lmhp.hub.experiment_file import import_pretrained
  from lmhp.training.resumption.jax_settings import check_device

  check_device()
  output = import_pretrained(values.path[0], values.output)
  print(f'{output}: fine-tunes {values.path[0]}; set config.data.path in it, then')
  print(f'  lmhp train --config={output}')
  return 0


def export(arguments: list[str]) -> int:
  """Writes a trained model as a Hugging Face directory."""
  parser = CommandParser(
    'export',
    'Write the newest parameters of a run as a Hugging Face directory that transformers '
    'loads.',
  )
  parser.add_argument(
    'path', nargs='*', help='directory of the run, and directory to write'
  )
  values = parser.parse(arguments)
  if len(values.path) != 2:
    raise ConfigError(
      f'export: got {len(values.path)} directories, expected exactly two: the directory '
      'of a run, and the directory to write'
    )
  workdir, output = values.path

  from lmhp import api

  api.export(workdir, output)
  print(
    f'{output}: config.json, safetensors and tokenizer; load it with from_pretrained of '
    'transformers'
  )
  return 0
