"""Everything that `lmhp count` reports on one model."""

from __future__ import annotations

from collections.abc import Mapping
import dataclasses
from typing import TypeAlias

from lmhp.counting.counted_model import CountedModel
from lmhp.counting.flops import TorchtitanFlops, torchtitan_flops
from lmhp.counting.hardware import cost_usd, find_device, time_seconds
from lmhp.counting.memory import (
  TrainingMemory,
  activation_bytes_by_policy,
  cache_bytes_per_token,
  optimizer_bytes,
  parameter_bytes,
)
from lmhp.counting.parameters import Count
from lmhp.errors import ConfigError
from lmhp.params import KINDS
from lmhp.typing import JSON, Number

TOKENS_PER_PARAMETER = 20
"""Training tokens per parameter, by default. Source: arXiv:2203.15556 (Chinchilla)."""

FlopsByConvention: TypeAlias = Mapping[str, Number]
"""Two counts of the same FLOPs, {'causal': ..., 'full': ...}.

'causal' counts only the pairs of tokens that the attention mask keeps, 'full' all pairs.
"""


@dataclasses.dataclass(frozen=True)
class TrainingCost:
  """Estimated time and price of training on one device.

  Attributes:
    device: Name of the device.
    utilization: Fraction of the device's peak that training reaches.
    tokens: Number of training tokens.
    flops: FLOPs of the whole training.
    device_seconds: Time of the whole training on one device.
    cost_usd: Price in US dollars.
    memory_bytes: Memory of the device. 0 if it is unknown.
    needed_bytes: Memory of training on one device. With a batch size, it is that of
      `TrainingMemory`: of the compiled program, or else the estimate for the thriftiest
      rematerialization policy. Without one, it is that of parameters, gradients and AdamW's
      state in float32, and activations come on top.
  """

  device: str
  utilization: float
  tokens: Number
  flops: float
  device_seconds: float
  cost_usd: float
  memory_bytes: float
  needed_bytes: int


@dataclasses.dataclass(frozen=True)
class ModelDescription:
  """Counts of one model.

  Attributes:
    name: Name of the model.
    counts: Number of parameters, by kind and in total.
    seq_len: Number of tokens in a sequence.
    flops_per_token_forward: FLOPs of the forward pass for one token.
    flops_per_token_train: FLOPs of the forward and the backward pass for one token.
    torchtitan: The same in the convention of torchtitan. None if it does not cover the model.
    kv_cache_bytes_per_token: Bytes of the key/value cache for one token, in bfloat16.
    batch_size: Number of sequences in a training step. None if it is not given.
    activation_bytes: {rematerialization policy: bytes of the activations of a training step}.
      None if `batch_size` is None.
    memory: Memory of one update. None if `batch_size` is None.
    training: Time and price of training. None if no device is given.
    notes: Sentences about what the counts include or leave out.
  """

  name: str
  counts: Count
  seq_len: int
  flops_per_token_forward: FlopsByConvention
  flops_per_token_train: FlopsByConvention
  kv_cache_bytes_per_token: Number
  torchtitan: TorchtitanFlops | None = None
  batch_size: int | None = None
  activation_bytes: Mapping[str, int] | None = None
  memory: TrainingMemory | None = None
  training: TrainingCost | None = None
  notes: tuple[str, ...] = ()

  def to_json(self) -> dict[str, JSON]:
    """Returns the description as `lmhp count --json` prints it."""
    counts = self.counts
    fields: dict[str, JSON] = {
      'name': self.name,
      'total': counts.total,
      'active': counts.active,
      'active_excluding_embedding': counts.active_excluding_embedding,
      'non_embedding': counts.non_embedding,
      'by_kind': {kind: counts.by_kind[kind] for kind in KINDS},
      'seq_len': self.seq_len,
      'flops_per_token_forward': self.flops_per_token_forward,
      'flops_per_token_train': self.flops_per_token_train,
      'torchtitan': self.torchtitan and dataclasses.asdict(self.torchtitan),
      'kv_cache_bytes_per_token': self.kv_cache_bytes_per_token,
      'parameter_bytes': {
        'float32': parameter_bytes(counts),
        'bfloat16': parameter_bytes(counts, bytes_per_number=2),
      },
      'gradient_bytes': parameter_bytes(counts),
      'optimizer_bytes': optimizer_bytes(counts),
    }
    if self.activation_bytes is not None:
      fields['batch_size'] = self.batch_size
      fields['activation_bytes'] = self.activation_bytes
    if self.memory is not None:
      fields['training_memory'] = dataclasses.asdict(self.memory)
    if self.training is not None:
      fields['training'] = dataclasses.asdict(self.training)
    if self.notes:
      fields['notes'] = list(self.notes)
    return fields


def describe(
  model: CountedModel,
  *,
  seq_len: int | None = None,
  batch_size: int | None = None,
  memory: TrainingMemory | None = None,
  device: str | None = None,
  utilization: float = 0.4,
  tokens: float | None = None,
) -> ModelDescription:
  """Counts the parameters, FLOPs and bytes of one model, without allocating an array.

  Args:
    model: The model.
    seq_len: Number of tokens in a sequence. None stands for the model's context.
    batch_size: Number of sequences in a training step. If it is given, the bytes of the
      activations are counted too.
    memory: Memory of one update with this batch size. It decides if training fits on the
      device.
    device: Name of a device (see `lmhp.counting.hardware.find_device`). If it is given, time
      and price of training are estimated too.
    utilization: Fraction of the device's peak FLOPs per second that training reaches.
    tokens: Number of training tokens. None stands for `TOKENS_PER_PARAMETER` for each
      parameter.

  Raises:
    ConfigError: If the model has fewer learned positions than the sequence has tokens, if the
      device is unknown, or if `utilization` is out of range.

  >>> from lmhp.model.config import ModelConfig
  >>> cfg = ModelConfig(vocab_size=65, d_model=128, max_seq_len=64, position='learned')
  >>> describe(CountedModel('small', cfg)).to_json()['total']
  804096
  """
  cfg = model.cfg
  seq_len = seq_len or cfg.max_seq_len
  if seq_len > cfg.max_seq_len and cfg.position == 'learned':
    raise ConfigError(
      f'seq_len: got {seq_len}, expected at most the {cfg.max_seq_len} learned '
      f'positions of {model.name}'
    )
  counts = model.parameters()
  causal = model.flops(seq_len, causal=True)
  full = model.flops(seq_len, causal=False)

  # Activations need a batch size. Time and price need a device.
  activation_bytes = None
  if batch_size is not None:
    activation_bytes = activation_bytes_by_policy(cfg, batch_size, seq_len)
  training = None
  if device is not None:
    n_tokens = TOKENS_PER_PARAMETER * counts.total if tokens is None else tokens
    needed_bytes = 2 * parameter_bytes(counts) + optimizer_bytes(counts)
    if memory is not None:
      needed_bytes = memory.compiled or min(memory.estimated.values())
    flops = causal.train * n_tokens
    training = _training_cost(flops, n_tokens, needed_bytes, device, utilization)

  return ModelDescription(
    name=model.name,
    counts=counts,
    seq_len=seq_len,
    flops_per_token_forward={'causal': causal.forward, 'full': full.forward},
    flops_per_token_train={'causal': causal.train, 'full': full.train},
    torchtitan=_torchtitan_flops(model, counts, seq_len),
    kv_cache_bytes_per_token=cache_bytes_per_token(cfg, seq_len),
    batch_size=batch_size,
    activation_bytes=activation_bytes,
    memory=memory,
    training=training,
    notes=model.notes,
  )


def _torchtitan_flops(
  model: CountedModel, counts: Count, seq_len: int
) -> TorchtitanFlops | None:
  if model.other_head is not None:
    return None
  n_active = counts.active
  if not model.cfg.tie_embeddings:
    n_active = counts.active_excluding_embedding
  return torchtitan_flops(model.cfg, n_active, seq_len)


def _training_cost(
  flops: float,
  tokens: Number,
  needed_bytes: int,
  device_name: str,
  utilization: float,
) -> TrainingCost:
  device = find_device(device_name)
  seconds = time_seconds(flops, device, utilization)
  return TrainingCost(
    device=device.name,
    utilization=utilization,
    tokens=tokens,
    flops=flops,
    device_seconds=seconds,
    cost_usd=cost_usd(seconds, device),
    memory_bytes=device.memory_bytes,
    needed_bytes=needed_bytes,
  )
