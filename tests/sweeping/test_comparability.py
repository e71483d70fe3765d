"""Trials of a sweep are scored on the same tokens, or in bits per byte on the same text."""

import numpy as np
import pytest

import lmhp
from lmhp import Choice, Float
from lmhp.errors import ConfigError
from lmhp.sweeping.language_model_checks import checked_language_model
from lmhp.sweeping.tasks.language_model import config_of
from lmhp.training.evaluation import validation_batches


@pytest.fixture
def check(tmp_path):
  """Checks a space with a base config that has these values."""
  path = tmp_path / 'text.jsonl'
  rng = np.random.default_rng(0)
  lines = []
  for _ in range(300):
    words = rng.choice(('a', 'tree', 'grows', 'säen', 'before'), rng.integers(3, 30))
    text = ' '.join(words)
    lines.append(f'{{"text": "{text}", "body": "{text[::-1]}"}}\n')
  path.write_text(''.join(lines))

  def run(space, objective='eval_loss_nats', base=(), **sweep):
    config = lmhp.default_config()
    config.data.path = (str(path),)
    config.data.cache_dir = str(tmp_path / 'cache')
    config.data.tokenizer = 'bpe' if 'data.tokenizer_vocab_size' in space else 'byte'
    config.model.max_seq_len = 8
    config.model.n_layers = 1
    config.train.steps = 4
    config.train.batch_size = 2
    for key, value in dict(base).items():
      section, _, name = key.partition('.')
      config[section][name] = value
    sweep = lmhp.SweepConfig(
      space=space, objective=objective, trials=4, match_budget='steps', **sweep
    )
    return checked_language_model(config, sweep)

  return run


LIMITED = {'evaluate.final_sequences': 16}


@pytest.mark.parametrize(
  'space,base',
  [
    ({'data.tokenizer_vocab_size': Choice(260, 300)}, {}),
    ({'data.tokenizer': Choice('byte', 'char')}, {}),
    ({'data.text_field': Choice('text', 'body')}, {}),
    ({'data.validation_fraction': Choice(0.1, 0.5)}, {}),
    ({'data.split': Choice('fraction', 'document')}, {}),
    ({'data.intra_document_attention': Choice(True, False)}, {}),
    ({'evaluate.final_sequences': Choice(16, 32)}, {}),
    ({'evaluate.final_sequences': Choice(16, None)}, {}),
    ({'train.seq_len': Choice(4, 8)}, LIMITED),
    ({'model.max_seq_len': Choice(4, 8)}, LIMITED),
  ],
)
def test_losses_on_different_tokens_are_refused(check, space, base):
  with pytest.raises(ConfigError, match='^(data|train|model|evaluate|sweep)'):
    check(space, base=base)


@pytest.mark.parametrize(
  'space',
  [
    {'train.seq_len': Choice(4, 8)},  # without a limit, all tokens are targets
    {'data.fraction': Choice(0.5, 1.0)},
    {'evaluate.batch_size': Choice(8, 16)},
    {'evaluate.final_sequences': Choice(10**6, None)},
    {'optimizer.learning_rate': Float(0.1, 0.2), 'data.seed': Choice(1, 2)},
  ],
)
def test_losses_on_the_same_tokens_are_accepted(check, space):
  check(space)


def test_a_size_of_the_model_does_not_depend_on_the_text(check):
  check({'data.tokenizer': Choice('byte', 'char')}, objective='parameters')


@pytest.mark.parametrize(
  'space,base',
  [
    ({'data.text_field': Choice('text', 'body')}, {}),
    ({'data.intra_document_attention': Choice(True, False)}, {}),
    ({'data.tokenizer': Choice('byte', 'char')}, LIMITED),
    ({'train.seq_len': Choice(4, 8)}, LIMITED),
  ],
)
def test_bits_per_byte_of_different_text_are_refused(check, space, base):
  with pytest.raises(ConfigError):
    check(space, objective='eval_bits_per_byte', base=base)


@pytest.mark.parametrize('split', ['fraction', 'document'])
@pytest.mark.parametrize(
  'space',
  [
    {'data.tokenizer_vocab_size': Choice(260, 300)},
    {'data.tokenizer': Choice('byte', 'char')},
    {'data.validation_fraction': Choice(0.1, 0.2)},
  ],
)
def test_bits_per_byte_are_scored_on_the_same_bytes(check, space, split):
  task = check(space, objective='eval_bits_per_byte', base={'data.split': split})
  ((path, choice),) = space.items()
  texts = set()
  for value in choice.values:
    cfg = config_of(task.job({path: value}))
    dataset = task.jobs.dataset(cfg)
    stream = task.programs(task.job({path: value})).stream
    text = b''
    for batch in validation_batches(cfg, dataset, stream, final=True):
      targets, weights = batch.targets_and_weights()
      ids = np.asarray(targets)[np.asarray(weights) > 0]
      text += dataset.tokenizer.decode(ids).encode()
    texts.add(text)
  assert len(texts) == 1 and len(texts.pop()) > 1000


def test_a_study_on_another_host_scores_the_same_text(check):
  space = {'data.tokenizer': Choice('byte', 'char')}
  task = check(space, objective='eval_bits_per_byte')
  again = task.recipe()()
  streams = [t.jobs.dataset(t.base).validation for t in (task, again)]
  assert np.array_equal(streams[0][0].ids, streams[1][0].ids)
