"""The command line. A mistake gives one line on stderr and status 2, and writes nothing."""

import functools
import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest
from small_runs import rows, words

import lmhp
from lmhp import cli
from lmhp.commands import flags as parsing

ROOT = pathlib.Path(__file__).parents[1]
EXPERIMENT = """
import lmhp

def get_config():
  config = lmhp.default_config()
  config.data.path = ({text!r},)
  config.data.tokenizer, config.data.cache_dir = 'char', {cache!r}
  config.model.d_model, config.model.n_heads = 12, 2
  config.model.n_layers, config.model.max_seq_len = 2, 8
  config.train.steps, config.train.batch_size = {steps}, 3
  config.evaluate.every_steps, config.evaluate.sequences = {evaluate}, 5
  config.checkpoint.every_steps = {save}
  config.log.every_steps, config.log.tensorboard = 7, False
  return config
"""


def experiment(directory, text, steps=24, evaluate=8, save=8, change=''):
  """Writes the experiment file of a small run, with an additional line `change`."""
  path = directory / 'small.py'
  source = EXPERIMENT.format(
    text=str(text),
    cache=str(text.parent / 'cache'),
    steps=steps,
    evaluate=evaluate,
    save=save,
  )
  path.write_text(source.replace('  return config', f'  {change}\n  return config'))
  return path


def files(directory):
  return sorted(str(p.relative_to(directory)) for p in directory.rglob('*'))


def command(*arguments, **options):
  """Starts `python -m lmhp` in a process of its own."""
  environment = {
    **os.environ,
    'PYTHONPATH': str(ROOT),
    'PYTHONWARNINGS': 'error::SyntaxWarning',
  }
  return subprocess.Popen(
    [sys.executable, '-m', 'lmhp', *map(str, arguments)],
    env=environment,
    text=True,
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    **options,
  )


@pytest.fixture
def fails(capsys, tmp_path, monkeypatch):
  """`fails(arguments, *texts)` runs a command and checks that it is refused.

  The status is 2, stdout is empty, stderr is one line with the texts, and no file changes.
  """
  monkeypatch.chdir(tmp_path)
  monkeypatch.setenv('LMHP_CACHE', str(tmp_path.parent / f'{tmp_path.name}-cache'))

  def check(arguments, *expected):
    before = files(tmp_path)
    status = cli.main([str(a) for a in arguments])
    out, err = capsys.readouterr()
    assert status == 2, (out, err)
    assert (
      err.startswith('lmhp: ') and err.count('\n') == 1 and 'Traceback' not in err
    ), err
    assert out == ''
    for part in expected:
      assert part in err, err
    assert files(tmp_path) == before
    return err

  return check


# --- the words of the command -------------------------------------------------------


@pytest.mark.parametrize(
  'arguments, expected',
  [
    (['tran'], ['tran: unknown command', "did you mean 'train'?"]),
    (
      ['--config=x'],
      [
        '--config=x: unknown command',
        'count, train, sweep, report, generate, import, export, dashboard, doctor',
      ],
    ),
    (['train', '--confg=x'], ["'--config'"]),
    (['train', '--config'], ['--config']),
    (['train', '--config='], ["--config: got ''"]),
    (['train', '--workdir='], ["--workdir: got ''"]),
    (['train', '--display=loud'], ['loud', 'terminal']),
    (['train', 'small.py'], ['--config=small.py']),
    (['train', '--noconfig.model.gated=1'], ['noconfig.model.gated']),
    (['count'], ['got no target']),
    (['count', 'gpt3'], ['gpt3', "did you mean 'gpt"]),
    (['count', 'gpt2', '--seq_len=0'], ['--seq_len']),
    (['count', 'gpt2', '--seq_len=1e3'], ['--seq_len']),
    (['count', 'gpt2', '--device=h1000'], ['h1000', "did you mean 'h100'?"]),
    (['count', 'gpt2', '--device=h100', '--utilization=0'], ['utilization']),
    (['count', 'gpt2', '--compiled'], ['compiled', 'batch_size']),
    (['count', 'nowhere.py'], ["'nowhere.py' does not exist"]),
    (['count', 'nowhere.json'], ['nowhere.json']),
    (['sweep'], ['--config: got none']),
    (['sweep', '--sweep.trials'], ['--config: got none']),
    (['dashboard'], ['got 0 directories']),
    (['generate'], ['got 0 directories']),
    (['generate', 'a', 'b'], ['got 2 directories']),
    (['generate', 'nowhere'], ['nowhere: no run there']),
    (['generate', 'nowhere', '--temperature=-1'], ['--temperature']),
  ],
)
def test_invalid_argument_is_refused(fails, arguments, expected):
  fails(arguments, *expected)


def test_help_of_the_program_and_of_each_command(capsys):
  for arguments in ([], ['--help'], ['-h'], ['help']):
    assert cli.main(arguments) == 0
    assert 'lmhp train --config=FILE' in capsys.readouterr().out
  for verb, flag in (
    ('train', '--workdir'),
    ('count', '--utilization'),
    ('generate', '--temperature'),
  ):
    assert cli.main([verb, '--help']) == 0
    assert flag in capsys.readouterr().out
  assert (
    cli.main(['--version']) == 0 and capsys.readouterr().out == f'{lmhp.__version__}\n'
  )


def test_help_config_describes_every_key(capsys):
  from lmhp.config_keys import keys

  assert cli.main(['train', '--help_config']) == 0
  out = capsys.readouterr().out
  assert all(f'  {path}: ' in out for path in keys())
  entry = out.partition('  optimizer.clip_norm: ')[2].split('\n')[:2]
  assert entry[0] and entry[1].strip().split('; ')[:2] == ['traced', 'default 1.0']
  assert 'above 0.0' in entry[1] and 'grad_clip' in entry[1] and 'arXiv' in entry[1]


# --- overrides ----------------------------------------------------------------------


@pytest.mark.parametrize(
  'words, expected',
  [
    ('model.n_layer=3', ["model.n_layer: no such key; did you mean 'model.n_layers'?"]),
    ('modle.n_layers=3', ["did you mean 'model.n_layers'?"]),
    (
      'optimizer.lr=3',
      ["optimizer.lr: no such key; did you mean 'optimizer.learning_rate'?"],
    ),
    ('train.learning_rate=3', ["did you mean 'optimizer.learning_rate'?"]),
    ('model=3', ['model: ', 'section', 'model.']),
    ('=3', [': no such key']),
    ('model.n_layers', ['model.n_layers: got True', 'a whole number']),
    ('model.n_layers=', ["model.n_layers: got ''", 'a whole number']),
    ('model.n_layers=two', ["model.n_layers: got 'two'"]),
    ('model.n_layers=2.5', ['model.n_layers: got 2.5']),
    ('model.n_layers=-2', ['model.n_layers: got -2', 'at least 1']),
    ('model.n_layers=None', ['model.n_layers: got None']),
    ('model.n_layers=(2,2)', ['model.n_layers: got (2, 2)']),
    ('model.n_layers=1' + '0' * 5000, ['model.n_layers: ', 'a whole number']),
    ('model.gated=maybe', ["model.gated: got 'maybe'", 'True or False']),
    ('model.norm=rmsnrom', ['model.norm: ', "did you mean 'rmsnorm'?"]),
    ('model.norm=größe', ["model.norm: got 'größe'", 'layernorm, rmsnorm']),
    ('model.norm=a=b', ["model.norm: got 'a=b'"]),
    ('model.n_kv_heads=3', ['model.n_kv_heads: got 3', 'model.n_heads=2']),
    ('optimizer.learning_rate=-3', ['optimizer.learning_rate: got -3.0', 'at least 0']),
    ('optimizer.learning_rate=nan', ['optimizer.learning_rate: got nan']),
    ('optimizer.learning_rate=1e300', ['optimizer.learning_rate: ', 'float32']),
    ('optimizer.b2=1', ['optimizer.b2: got 1.0', 'below 1']),
    (
      'optimizer.freeze=embeding',
      ["optimizer.freeze: got 'embeding'", "did you mean 'embedding'?"],
    ),
    ('train.tokens=100', ['train.tokens: got 100', 'train.steps']),
    ('train.batch_size=4000000000', ['train.steps: ']),
    ('schedule.warmup_steps=25', ['schedule.warmup_steps: got 25', '24 steps']),
    ('data.path=wrods.txt', ["data.path: no file or directory 'wrods.txt'"]),
    ('data.path=', ['data.path: got ()']),
    ('data.validation_fraction=1', ['data.validation_fraction: got 1.0']),
    ('data.mixture_weights=1,2', ['data.mixture_weights: got (1.0, 2.0)']),
    ('model.max_seq_len=9000', ['data.path: ', 'expected at least 18000']),
    ('data.validation_fraction=0.0001', ['data.validation_fraction: ']),
  ],
)
def test_invalid_override_is_refused(fails, text, tmp_path, words, expected):
  file = experiment(tmp_path, text)
  fails(['train', f'--config={file}', '--workdir=run', f'--config.{words}'], *expected)


@pytest.mark.slow
def test_error_found_late_leaves_the_directory_usable(
  text, tmp_path, capsys, small, monkeypatch
):
  monkeypatch.setitem(sys.modules, 'wandb', None)
  train = [
    'train',
    f'--config={experiment(tmp_path, text)}',
    f'--workdir={tmp_path / "run"}',
  ]
  assert cli.main([*train, '--config.log.wandb_project=me']) == 2
  assert capsys.readouterr().err.startswith("lmhp: log.wandb_project: got 'me'")
  assert (
    files(tmp_path / 'run') == ['metrics.jsonl']
    and not (tmp_path / 'run' / 'metrics.jsonl').read_text()
  )
  assert cli.main(train) == 0


def test_every_notation_of_an_override_is_accepted():
  rest, overrides = parsing.config_overrides(
    '--config=x.py --config.train.steps=5 --config.model.gated '
    '--noconfig.model.scan_layers --config.train.steps=6 '
    '--config.data.path=a=b.txt --config.optimizer.learning_rate -3 '
    '--workdir run -config.train.seed 2'.split()
  )
  assert rest == ['--config=x.py', '--workdir', 'run']
  assert overrides == {
    'train.steps': '6',
    'model.gated': True,
    'model.scan_layers': False,
    'data.path': 'a=b.txt',
    'optimizer.learning_rate': '-3',
    'train.seed': '2',
  }


# --- experiment files ---------------------------------------------------------------


@pytest.mark.parametrize(
  'source, expected',
  [
    ('def get_config(:', ['line 1', 'SyntaxError']),
    ('\n\n1 / 0', ['line 3', 'ZeroDivisionError: division by zero']),
    ('import no_such_module', ['line 1', 'no_such_module']),
    ('raise SystemExit("no")', ['line 1', 'SystemExit: no']),
    ('x = 1', ['defines no get_config()']),
    ('get_config = 3', ['defines no get_config()']),
    ('def get_config(): return 3', ['get_config() returned int']),
    ('def get_config(): pass', ['get_config() returned NoneType']),
    ('def get_config(a, b): return 1', ['TypeError']),
    ('def get_config(): return get_config()', ['RecursionError']),
    (
      'import lmhp\ndef get_config():\n  c = lmhp.default_config()\n  c.model.n_layer '
      '= 3\n  return c',
      ['line 4', "n_layer: no such key; did you mean 'model.n_layers'?"],
    ),
    (
      'import lmhp\ndef get_config():\n  c = lmhp.default_config()\n  '
      'c.modle.n_layers = 3\n  return c',
      ['line 4', "modle: no such key; did you mean 'model'?"],
    ),
    (
      'import lmhp\ndef get_config():\n  c = lmhp.default_config()\n  c.model.d_model '
      '= c.model.hidden\n  return c',
      ['line 4', 'hidden: no such key'],
    ),
    (
      'def get_config(): return dict(model=dict(n_layer=3))',
      ['model.n_layer: no such key'],
    ),
    (
      'def get_config(): return dict(modle=3)',
      ["modle: no such section; did you mean 'model'?"],
    ),
    ('def get_config(): return dict(model=3)', ['model: got 3, expected a section']),
    ('def get_config(): return {1: 2}', ['1: no such section']),
    ('\x00', ['SyntaxError']),
    ('# -*- coding: nothing -*-', ['SyntaxError']),
  ],
)
def test_invalid_experiment_file_is_refused(fails, tmp_path, source, expected):
  (tmp_path / 'bad.py').write_text(source)
  err = fails(['train', '--config=bad.py', '--workdir=run'], *expected)
  assert "'bad.py'" in err or 'section' in err or 'model.n_layer' in err


def test_missing_experiment_file_is_refused(fails, tmp_path):
  (tmp_path / 'sub').mkdir()
  (tmp_path / 'sub' / 'first.py').write_text('')
  fails(['train', '--config=sub/frist.py'], "did you mean 'sub/first.py'?")
  fails(['train', '--config=sub'], 'is a directory', "did you mean 'sub/first.py'?")


def test_unfilled_placeholder_is_refused(fails, text, tmp_path):
  change = (
    'from ml_collections import config_dict; '
    'config.train.seed = config_dict.required_placeholder(int)'
  )
  file = experiment(tmp_path, text, change=change)
  fails(['train', f'--config={file}', '--workdir=run'], 'train.seed: got no value')


# --- data and directories -----------------------------------------------------------


@pytest.mark.parametrize(
  'name, contents, expected',
  [
    ('empty.txt', b'', ['data.path: ', 'empty.txt']),
    ('short.txt', b'abc', ['data.path: ', 'short.txt']),
    ('latin.txt', b'caf\xe9', ['latin.txt:1: not UTF-8']),
    ('rows.jsonl', b'{"txt": 1}', ['data.text_field: ', "'text'"]),
    ('rows.jsonl', b'{', ['rows.jsonl:1: not JSON']),
    ('table.parquet', b'PAR1', ['table.parquet']),
    ('words.doc', b'abc', ['data.path', 'words.doc', '.jsonl']),
  ],
)
def test_invalid_data_is_refused(fails, text, tmp_path, name, contents, expected):
  (tmp_path / name).write_bytes(contents)
  file = experiment(tmp_path, text)
  fails(
    ['train', f'--config={file}', '--workdir=run', f'--config.data.path={name}'],
    *expected,
  )


MANIFEST = {
  'config': {},
  'overrides': {},
  'data_sha256': '',
  'versions': {},
  'git': None,
  'device': {
    'platform': 'cpu',
    'kind': 'cpu',
    'count': 1,
    'processor': '',
    'processor_cores': 1,
  },
  'command': [],
  'started_utc': '',
}


@pytest.mark.parametrize(
  'name, contents, expected',
  [
    ('run', 'a file', ["workdir: got 'run'", 'is a file']),
    (
      'run/config.json',
      '{"model_type": "llama"}',
      ['run/config.json: this file is not the config of an lmhp run'],
    ),
    (
      'run/config.json',
      '{"config": 3}',
      ['run/config.json: this file is not the config of an lmhp run'],
    ),
    (
      'run/config.json',
      '{"config"',
      ['run/config.json: this file is not the config of an lmhp run'],
    ),
    (
      'run/config.json',
      json.dumps(MANIFEST | {'config': {'model': {'n_layer': 3}}}),
      ['run/config.json', "did you mean 'model.n_layers'?"],
    ),
    (
      'run/config.json/a',
      '',
      ['run/config.json: this file is not the config of an lmhp run'],
    ),
    (
      'run/metrics.jsonl',
      '{}',
      ['workdir: run has a metrics.jsonl', 'expected a new directory'],
    ),
    ('run/checkpoints/100/weights', '', ['workdir: run has a checkpoints']),
    ('run/result.json', '{}', ['workdir: run has a result.json']),
  ],
)
def test_workdir_without_a_run_is_refused(
  fails, text, tmp_path, name, contents, expected
):
  (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
  (tmp_path / name).write_text(contents)
  fails(['train', f'--config={experiment(tmp_path, text)}', '--workdir=run'], *expected)
  assert (tmp_path / name).read_text() == contents


def test_workdir_without_write_permission_is_refused(
  fails, text, tmp_path, monkeypatch
):
  file = experiment(tmp_path, text)
  monkeypatch.setattr(os, 'access', lambda path, mode: not mode & os.W_OK)
  fails(
    ['train', f'--config={file}', '--workdir=run'],
    "workdir: got 'run'",
    'no permission to write',
  )


def test_full_disk_is_one_line(text, tmp_path, capsys, monkeypatch, small):
  def full(*arguments, **options):
    raise OSError(28, 'No space left on device', 'run/config.json')

  monkeypatch.setattr('lmhp.training.run.write_json', full)
  assert (
    cli.main(
      [
        'train',
        f'--config={experiment(tmp_path, text)}',
        f'--workdir={tmp_path / "run"}',
      ]
    )
    == 2
  )
  assert capsys.readouterr().err == 'lmhp: run/config.json: No space left on device\n'


def damage(path, contents):
  path.write_bytes(contents)


def test_finished_run_with_flags_and_damaged_files(text, tmp_path, capsys, small):
  """Starts a finished run again with each flag, and with each of its files damaged."""
  file, run = experiment(tmp_path, text), tmp_path / 'run'
  train = ['train', f'--config={file}', f'--workdir={run}']

  def again(*more):
    status = cli.main([*train, *more])
    out, err = capsys.readouterr()
    assert err.count('\n') == (status == 2) and 'Traceback' not in err
    return status, out, err

  assert again()[0] == 0
  before = {p: p.read_bytes() for p in run.rglob('*') if p.is_file()}
  status, out, _ = again()
  assert (
    status == 0
    and 'this run is complete; nothing is trained again' in out
    and 'eval loss' in out
  )
  assert {p: p.read_bytes() for p in run.rglob('*') if p.is_file()} == before

  status, _, err = again('--config.model.d_model=16')
  assert status == 2 and 'model.d_model: got 16' in err and 'has 12' in err
  assert again('--config.model.d_model=12')[0] == 0  # equal to what the file has
  assert (
    again('--config.train.seed=3', '--config.train.seed=0')[0] == 0
  )  # the last of two counts

  for name, contents, expected in (
    ('result.json', b'{"steps": 3', 'result.json: not the result of a run'),
    ('result.json', b'[]', 'result.json: not the result of a run'),
    ('metrics.jsonl', b'{"step": 0}\nrubbish\n', 'metrics.jsonl: rows up to step'),
    (
      'config.json',
      b'\xff\xfe',
      'config.json: this file is not the config of an lmhp run',
    ),
  ):
    whole = (run / name).read_bytes()
    damage(run / name, contents)
    status, _, err = again()
    assert status == 2 and expected in err, err
    assert (run / name).read_bytes() == contents
    damage(run / name, whole)
  assert {p: p.read_bytes() for p in run.rglob('*') if p.is_file()} == before

  (
    run / 'result.json'
  ).unlink()  # as a kill between the last save and the result leaves it
  lines = (run / 'metrics.jsonl').read_bytes()
  assert again()[0] == 0
  assert (run / 'metrics.jsonl').read_bytes() == lines

  def without(data):
    return {
      k: v
      for k, v in json.loads(data).items()
      if 'seconds' not in k and k not in ('started_utc', 'checksum')
    }

  assert without((run / 'result.json').read_bytes()) == without(
    before[run / 'result.json']
  )

  for part in (run / 'checkpoints' / '24').rglob('*'):
    if part.is_file() and part.name != 'commit_success.txt':
      damage(part, part.read_bytes()[:10])
  status, out, _ = again()  # the last state is lost, the one before it is not
  assert status == 0 and 'resumed at step 16' in out
  assert list(rows(run)) == [
    {k: v for k, v in json.loads(line).items() if k != 'seconds'}
    for line in lines.decode().splitlines()
  ]

  text.write_text(text.read_text() + ' tree')
  status, _, err = again()
  text.write_text(words(1500))
  assert status == 2 and 'data.path' in err and 'changed since the run' in err


# --- signals, in processes of their own ---------------------------------------------


@pytest.fixture
def cache(tmp_path_factory, monkeypatch):
  """A compile cache for the processes of this session."""
  monkeypatch.setenv(
    'LMHP_COMPILE_CACHE', str(tmp_path_factory.getbasetemp() / 'compiled')
  )


def last_params(run):
  _, params, _ = lmhp.load_run(run)
  return params


def has_checkpoint(run):
  """Returns True if a step is saved. An unfinished step has a name that is no number."""
  marks = run.glob('checkpoints/*/commit_success.txt')
  return any(mark.parent.name.isdecimal() for mark in marks)


def wait_for(process, condition, seconds=120):
  """Waits until a condition holds or the process ends."""
  end = time.monotonic() + seconds
  while process.poll() is None and not condition():
    assert time.monotonic() < end
    time.sleep(0.005)


@pytest.mark.slow
def test_resumed_runs_give_the_same_bits(text, tmp_path, cache):
  """SIGTERM and Ctrl-C save the state and exit with the status of the signal. After kill -9, the
  next command resumes from the last checkpoint.
  """
  from small_runs import bits

  file = experiment(
    tmp_path,
    text,
    steps=6000,
    evaluate=1500,
    save=900,
    change='config.checkpoint.keep_last = 3',
  )

  def args(name):
    return ['train', f'--config={file}', f'--workdir={tmp_path / name}']

  out, err = command(*args('whole')).communicate()
  assert 'eval loss' in out and not err

  stops = (signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGKILL, -9)
  for number, status in stops:
    run = tmp_path / f'stopped_{status}'
    process = command(*args(run.name))
    wait_for(process, functools.partial(has_checkpoint, run))
    process.send_signal(number)
    out, err = process.communicate()
    assert process.returncode == status and 'Traceback' not in err, err
    assert not (run / 'result.json').exists() and (run / 'config.json').exists()
    if status > 0:
      assert 'the same command resumes the run' in out
  for _, status in stops:
    run = tmp_path / f'stopped_{status}'
    process = command(*args(run.name))
    out, err = process.communicate()
    assert process.returncode == 0 and 'resumed at step' in out, err
    assert rows(run) == rows(tmp_path / 'whole')
    assert bits(last_params(run)) == bits(last_params(tmp_path / 'whole'))


@pytest.mark.slow
def test_signal_before_the_first_step_leaves_no_state(text, tmp_path, monkeypatch):
  """The process may be importing, reading or compiling. It writes no checkpoint and no
  unfinished file.
  """
  monkeypatch.setenv('LMHP_COMPILE_CACHE', 'off')
  file = experiment(tmp_path, text)
  for number, status in ((signal.SIGTERM, 143), (signal.SIGINT, 130)):
    run = tmp_path / f'run_{status}'
    process = command('train', f'--config={file}', f'--workdir={run}')
    # The config is written before the program is compiled.
    wait_for(process, (run / 'config.json').exists)
    process.send_signal(number)
    out, err = process.communicate()
    assert process.returncode == status and 'Traceback' not in err, err
    assert (
      not (run / 'checkpoints').exists() or 'the same command resumes the run' in out
    )


def test_closed_output_pipe_is_no_error():
  with command('--help') as process:
    process.stdout.close()
    assert process.stderr.read() == ''
  assert process.returncode == 128 + signal.SIGPIPE
