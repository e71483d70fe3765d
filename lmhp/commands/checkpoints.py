"""The verbs of finished models: generate, and import and export of Hugging Face directories."""

from __future__ import annotations

from lmhp.commands.flags import parse


def generate(arguments: list[str]) -> int:
  from absl import flags

  from lmhp.errors import ConfigError

  fv = flags.FlagValues()
  flags.DEFINE_string('prompt', '\n', 'the text to continue', flag_values=fv)
  flags.DEFINE_integer(
    'n_tokens',
    None,
    'tokens to add; 200, or what the context holds, where not given',
    1,
    flag_values=fv,
  )
  flags.DEFINE_float(
    'temperature',
    0.8,
    'logits are divided by it; 0 takes the likeliest token',
    0.0,
    flag_values=fv,
  )
  flags.DEFINE_integer(
    'top_k', None, 'only the likeliest k are drawn from', 1, flag_values=fv
  )
  flags.DEFINE_integer('seed', 0, 'of the draws', flag_values=fv)
  workdirs = parse(
    fv,
    arguments,
    'lmhp generate WORKDIR [--prompt=TEXT]: of a run, or a Hugging Face directory',
  )
  if workdirs is None:
    return 0
  if len(workdirs) != 1:
    raise ConfigError(f"generate: got {len(workdirs)} directories, expected one run's")
  from lmhp import api

  print(
    api.generate(
      workdirs[0],
      fv.prompt,
      n_tokens=fv.n_tokens,
      temperature=fv.temperature,
      top_k=fv.top_k,
      seed=fv.seed,
    )
  )
  return 0


def import_(arguments: list[str]) -> int:
  from absl import flags

  from lmhp.errors import ConfigError

  fv = flags.FlagValues()
  flags.DEFINE_string(
    'output',
    None,
    "the experiment file to write; the directory's name with .py where not given",
    flag_values=fv,
  )
  paths = parse(
    fv,
    arguments,
    'lmhp import PATH [--output=FILE]: a Hugging Face directory, read to its last number; '
    'writes an experiment file that fine-tunes it',
  )
  if paths is None:
    return 0
  if len(paths) != 1:
    raise ConfigError(
      f'import: got {len(paths)} directories, expected one with config.json and safetensors'
    )
  from lmhp import api

  output = api.import_pretrained(paths[0], fv.output)
  print(
    f'{output}: fine-tunes {paths[0]}; set config.data.path in it, then\n  lmhp train --config={output}'
  )
  return 0


def export(arguments: list[str]) -> int:
  from absl import flags

  from lmhp.errors import ConfigError

  paths = parse(
    flags.FlagValues(),
    arguments,
    "lmhp export WORKDIR PATH: a run's newest parameters as a Hugging Face "
    'directory that transformers loads',
  )
  if paths is None:
    return 0
  if len(paths) != 2:
    raise ConfigError(
      f"export: got {len(paths)} directories, expected a run's and the one to write"
    )
  from lmhp import api

  api.export(*paths)
  print(
    f'{paths[1]}: config.json, safetensors and tokenizer; transformers loads it with from_pretrained'
  )
  return 0
