"""The CPU recipe of nanoGPT: a small character-level GPT on tiny Shakespeare.

Question: Does lmhp train as well and as fast as the best-known small trainer?
Source: github.com/karpathy/nanoGPT, README, "I only have a macbook". Its validation loss is
  1.88 on 20 random batches, and 1.90 over the whole validation split.
Expected: At most 1.915 nats over the whole validation split, mean of five seeds.
Time: About a minute on two CPU cores (AMD EPYC, Zen 4).

  lmhp train --config=experiments/shakespeare_char.py --config.data.path=tinyshakespeare.txt
"""

import lmhp


def get_config():
  config = lmhp.default_config()

  config.data.path = ('tinyshakespeare.txt',)
  config.data.tokenizer = 'char'
  config.data.validation_fraction = 0.1

  config.model.max_seq_len = 64
  config.model.n_layers = 4
  config.model.n_heads = 4
  config.model.d_model = 128
  config.model.position = 'learned'
  config.model.activation = 'gelu'

  config.train.batch_size = 12
  config.train.steps = 2000

  config.optimizer.name = 'adamw'
  config.optimizer.learning_rate = 1e-3
  config.optimizer.b1 = 0.9
  config.optimizer.b2 = 0.99
  config.optimizer.weight_decay = 0.1
  config.optimizer.clip_norm = 1.0

  config.schedule.name = 'cosine'
  config.schedule.warmup_steps = 100
  config.schedule.final_lr_ratio = 0.1

  config.evaluate.every_steps = 500
  return config
