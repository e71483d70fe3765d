"""Old names of config keys that were renamed.

The table has two uses. First, each parameter of a search has a random stream that is seeded by a
name. A renamed key keeps its old name there, so that the same search seed still gives the same
points. Second, if a user writes an old name, the error message suggests the new one.
"""

from __future__ import annotations

import re

RENAMED_KEYS = {
  'data.intra_document_attention': 'data.mask_documents',
  'data.placement': 'data.residence',
  'model.prefix_lm': 'model.prefix',
  'optimizer.attention_lr_multiplier': 'optimizer.attention_rate',
  'optimizer.embedding_lr_multiplier': 'optimizer.embedding_rate',
  'optimizer.feed_forward_lr_multiplier': 'optimizer.feed_forward_rate',
  'optimizer.muon_lr_multiplier': 'optimizer.muon_rate',
  'optimizer.muon_newton_schulz_steps': 'optimizer.muon_steps',
  'optimizer.normalization_lr_multiplier': 'optimizer.normalization_rate',
  'optimizer.other_lr_multiplier': 'optimizer.other_rate',
  'optimizer.output_lr_multiplier': 'optimizer.output_rate',
  'optimizer.positional_lr_multiplier': 'optimizer.positional_rate',
  'optimizer.weight_decay_kinds': 'optimizer.decay_kinds',
  'optimizer.weight_decay_roles': 'optimizer.decay_roles',
  'schedule.cooldown_epochs': 'schedule.decay_epochs',
  'schedule.cooldown_fraction': 'schedule.decay_fraction',
  'schedule.cooldown_steps': 'schedule.decay_steps',
  'schedule.cooldown_tokens': 'schedule.decay_tokens',
  'schedule.cooldown_tokens_per_parameter': 'schedule.decay_tokens_per_parameter',
  'schedule.final_lr_ratio': 'schedule.final_fraction',
  'schedule.initial_lr_ratio': 'schedule.initial_fraction',
  'sweep.ask_batch_size': 'sweep.batch',
  'sweep.confirm_points': 'sweep.confirm_best',
  'sweep.execution': 'sweep.pack',
  'sweep.first_rung_fraction': 'sweep.first_rung',
  'sweep.grid_levels': 'sweep.levels',
  'sweep.match_budget': 'sweep.held_equal',
  'sweep.max_pack_width': 'sweep.max_width',
  'sweep.n_calibration_trials': 'sweep.calibration',
  'sweep.pbt_interval_fraction': 'sweep.pbt_fraction',
  'sweep.pbt_replaced_fraction': 'sweep.pbt_replaced',
  'sweep.population_size': 'sweep.population',
  'sweep.rung_cooldown_fraction': 'sweep.cooldown_fraction',
  'sweep.search_seed': 'sweep.seed',
  'sweep.seeds_per_point': 'sweep.seeds',
  'train.grad_accumulation_steps': 'train.accumulation',
  'train.measure_noise_scale': 'train.noise_scale',
}
"""{name of a key: its old name}. A key that is not in the table was never renamed."""

_PATH = re.compile(r'[A-Za-z_]\w*(?:\.\w+)+')
"""Dotted path of a key, such as schedule.name."""


def stream_name(parameter: str) -> str:
  """Returns the name of a parameter's random stream.

  Args:
    parameter: Name of a parameter of a search. It may contain several paths, such as that of a
      condition in brackets. Each path is replaced by its old name.

  >>> stream_name('schedule.cooldown_fraction[schedule.name=wsd_linear]')
  'schedule.decay_fraction[schedule.name=wsd_linear]'
  """
  return _PATH.sub(lambda match: RENAMED_KEYS.get(match[0], match[0]), parameter)
