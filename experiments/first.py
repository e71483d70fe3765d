"""The first run: a small language model on the embedded corpus, in a few minutes on two CPU cores.

Question: does everything work here, and what does a run leave behind?
Data: the docstrings of Python and of lmhp's own dependencies, read as bytes; nothing is downloaded.
Expected: 1.44 nats per byte after 1,500 steps (a model that has learnt nothing: ln 257 = 5.55).

  lmhp train --config=experiments/first.py
"""

import lmhp


def get_config():
  config = lmhp.default_config()

  config.data.path = ('docstrings',)
  config.data.tokenizer = 'byte'

  config.model.max_seq_len = 128
  config.model.n_layers = 4
  config.model.n_heads = 4
  config.model.d_model = 128

  config.train.batch_size = 16
  config.train.steps = 1500

  config.optimizer.learning_rate = 2e-3
  config.schedule.name = 'cosine'
  config.schedule.warmup_steps = 100
  return config
