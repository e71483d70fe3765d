"""Memory of one update: parameters, gradients, optimizer state, activations and buffers.

Dimension key: B batch, L sequence.
"""

from __future__ import annotations

from collections.abc import Callable
import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from lmhp.counting.liveness import peak_bytes
from lmhp.counting.memory import TrainingMemory, tree_bytes
from lmhp.counting.precision import fastest_dtype
from lmhp.errors import ConfigError, is_out_of_memory
from lmhp.hypers import split
from lmhp.model.batch import Batch
from lmhp.model.config import REMAT_POLICIES
from lmhp.model.transformer import build
from lmhp.training.config import RunConfig
from lmhp.training.resumption.jax_settings import check_device
from lmhp.training.step import make_init, make_update
from lmhp.typing import PyTree


def training_memory(cfg: RunConfig, compiled: bool = False) -> TrainingMemory:
  """Returns the memory of one update. The tokens of the data set come on top.

  Args:
    cfg: Config of the run. The batch size and the length of the sequences are set. A dtype
      'auto' is bfloat16, as on accelerators. If `compiled` is True, it is that of this machine.
    compiled: If True, the update is compiled for the first device of this machine, and the
      memory of the program is returned too.

  Raises:
    ConfigError: If JAX finds no device, which it needs to trace the update, too, or if the
      compiler itself has too little memory.
  """
  check_device()
  if cfg.model.dtype == 'auto':
    dtype = fastest_dtype() if compiled else 'bfloat16'
    cfg = _with_model(cfg, dtype=dtype)
  platform = jax.devices()[0].platform if compiled else None
  on_cpu = platform == 'cpu'
  estimated = {
    policy: estimated_bytes(_with_model(cfg, remat=policy), on_cpu)
    for policy in REMAT_POLICIES
  }
  return TrainingMemory(
    estimated=estimated,
    optimizer=cfg.optimizer.name,
    dtype=cfg.model.dtype,
    remat=cfg.model.remat,
    compiled=compiled_bytes(cfg) if compiled else None,
    platform=platform,
  )


def estimated_bytes(cfg: RunConfig, on_cpu: bool = False) -> int:
  """Returns an estimate of the memory of one update, which takes a few seconds.

  The estimate follows the arrays that are alive during the update (`lmhp.counting.liveness`).

  Args:
    cfg: Config of the run, with a batch size and a length of the sequences.
    on_cpu: If True, the estimate is for a CPU, else for an accelerator.
  """
  update, arguments = _update_and_arguments(cfg)
  traced = jax.make_jaxpr(update)(*arguments)
  return tree_bytes(arguments) + peak_bytes(traced.jaxpr, on_cpu)


def compiled_bytes(cfg: RunConfig) -> int:
  """Returns the memory that XLA plans for one update on the first device of this machine.

  It is the size of the arguments and of the temporary arrays. No array is allocated.

  Args:
    cfg: Config of the run, with a batch size and a length of the sequences.

  Raises:
    ConfigError: If the compiler itself has too little memory.
  """
  update, arguments = _update_and_arguments(cfg)
  try:
    program = jax.jit(update, donate_argnums=0).lower(*arguments).compile()
  except Exception as error:
    if not is_out_of_memory(error):
      raise
    raise ConfigError(
      'compiled: this device has too little memory to compile the update'
    ) from None
  analysis = program.memory_analysis()
  assert analysis is not None, 'XLA has no memory analysis for this device'
  return analysis.argument_size_in_bytes + analysis.temp_size_in_bytes


def _with_model(cfg: RunConfig, **fields: Any) -> RunConfig:
  return dataclasses.replace(cfg, model=dataclasses.replace(cfg.model, **fields))


def _update_and_arguments(cfg: RunConfig) -> tuple[Callable[..., PyTree], PyTree]:
  """Returns the function of one update, and the shapes and dtypes of its arguments."""
  structure, hypers = split(cfg)
  model = build(structure.model)
  state = jax.eval_shape(make_init(model, structure.optimizer), hypers)

  shape = (cfg.train.batch_size, cfg.train.seq_len)
  # A `Batch` of shapes and dtypes instead of arrays.
  tokens_BL: Any = jax.ShapeDtypeStruct(shape, jnp.int32)
  weights_BL: Any = jax.ShapeDtypeStruct(shape, jnp.float32)
  batch = Batch(
    tokens=tokens_BL,
    targets=tokens_BL,
    weights=weights_BL,
    encoder_tokens=tokens_BL if cfg.model.is_encoder_decoder else None,
  )
  schedule = jax.ShapeDtypeStruct((), jnp.float32)
  update = make_update(model, structure.optimizer, structure.train)
  return update, (state, hypers, batch, schedule)
