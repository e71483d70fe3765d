"""Config keys that token mixers share. This file imports no jax."""

from __future__ import annotations

from lmhp.declarations import static
from lmhp.model.config import ModelConfig
from lmhp.sections import assign, keys, keys_of, wrong


@keys
class MixerKeys:
  """Keys of the token mixers other than attention."""

  mixer_dim: int = static(
    None,
    'inner width of token mixers other than attention; None is d_model',
    low=1,
    aliases=('lru_width', 'd_inner'),
    converted_aliases={'expand': 'expand * model.d_model'},
    derived=True,
  )
  mixer_head_dim: int = static(
    None,
    "size of a head of Mamba-2 and of RG-LRU's gates; None is head_dim",
    low=1,
    aliases=('mamba_d_head', 'mamba_head_dim'),
    derived=True,
  )
  mixer_bias: bool = static(
    False,
    'bias of the input and output projections of token mixers other than attention',
    aliases=('use_bias', 'mamba_proj_bias'),
  )


def resolve_mixer_keys(cfg: ModelConfig) -> None:
  """Fills in `mixer_dim` and `mixer_head_dim`."""
  sizes = keys_of(cfg, MixerKeys)
  assign(
    cfg,
    mixer_dim=sizes.mixer_dim or cfg.d_model,
    mixer_head_dim=sizes.mixer_head_dim or cfg.head_dim,
  )


def resolve_mixer_heads(cfg: ModelConfig) -> None:
  """Fills in `mixer_dim` and `mixer_head_dim`, and checks that heads divide the width."""
  resolve_mixer_keys(cfg)
  sizes = keys_of(cfg, MixerKeys)
  if sizes.mixer_dim % sizes.mixer_head_dim:
    accepted = f'a multiple of model.mixer_head_dim={sizes.mixer_head_dim}'
    raise wrong(cfg, 'mixer_dim', accepted)


def mixer_heads(cfg: ModelConfig) -> int:
  """Returns the number of heads of Mamba-2 and of RG-LRU's gates."""
  sizes = keys_of(cfg, MixerKeys)
  return sizes.mixer_dim // sizes.mixer_head_dim
