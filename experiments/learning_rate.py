"""Which learning rate, weight decay and schedule suit a small language model?

Question: What is the best of 27 settings? Is it better than the usual one, and by how much?
Data: The docstrings of Python and of installed packages, read as bytes. Nothing is downloaded.
Budget: All trials have the same steps, tokens and FLOPs: 600 updates of 2,048 tokens.
Method: 27 quasi-random points. Rungs at 1/9 and 1/3 of training compare cooldown forks. Six
  trials are trained to the end whatever their rungs show, to test how well the rungs predict
  the end. A rung that passes the test stops two of three trials. The winner and the base config
  are then trained on eight new seeds.
Expected: 1.846 nats per byte on new seeds, 0.51 below the base config.
Time: Three to five minutes on two CPU cores (AMD EPYC, Zen 4).

  lmhp sweep --config=experiments/learning_rate.py
"""

import lmhp


def get_config():
  config = lmhp.default_config()

  config.data.path = ('docstrings',)
  config.data.tokenizer = 'byte'

  config.model.max_seq_len = 128
  config.model.n_layers = 2
  config.model.n_heads = 2
  config.model.d_model = 64

  config.train.batch_size = 16
  config.train.steps = 600
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
    first_rung_fraction=1 / 9,
    confirm_seeds=8,
  )
