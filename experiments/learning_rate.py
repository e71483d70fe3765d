"""Which learning rate, weight decay and schedule suit a small language model?

Question: What is the best of 27 settings? Is it better than the usual one, and by how much?
Data: The docstrings of Python and of installed packages, read as bytes. Nothing is downloaded.
Budget: All trials have the same steps, tokens and FLOPs: 360 updates of 1,024 tokens.
Method: 27 quasi-random points. A rung at 1/3 of training compares cooldown forks. Six trials are
  trained to the end whatever the rung shows, to test how well it predicts the end. If it passes
  the test, it stops two of three trials. The winner and the base config are then trained on new
  seeds, until their difference is clear.
Expected: 2.257 nats per byte on new seeds, 0.38 below the base config.
Time: About two minutes on two CPU cores (AMD EPYC, Zen 4).

  lmhp sweep --config=experiments/learning_rate.py
"""

import lmhp


def get_config():
  config = lmhp.default_config()

  config.data.path = ('docstrings',)
  config.data.tokenizer = 'byte'

  config.model.max_seq_len = 64
  config.model.n_layers = 2
  config.model.n_heads = 2
  config.model.d_model = 64

  config.train.batch_size = 16
  config.train.steps = 360
  config.evaluate.final_sequences = 1024

  config.optimizer.learning_rate = 1e-3
  config.schedule.name = 'cosine'
  return config


def get_sweep():
  return lmhp.SweepConfig(
    space={
      'optimizer.learning_rate': lmhp.Float(3e-4, 3e-2, log=True),
      'optimizer.weight_decay': lmhp.Float(1e-3, 1.0, log=True, role='nuisance'),
      'schedule.name': lmhp.Choice('cosine', 'wsd_linear', 'constant'),
    },
    search='halton',
    trials=27,
    halving='successive',
    first_rung_fraction=1 / 3,
  )
