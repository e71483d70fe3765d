"""One update of a run, and a chunk of updates in one program.

Every function here is pure. A state holds only arrays, the traced numbers (such as the learning
rate) are the argument `hypers`, and the batch is a function of the step number. So the same code
trains a single run, a population of runs under `vmap`, or a sharded run.
"""

from __future__ import annotations

from collections.abc import Callable
import dataclasses

import jax
import jax.numpy as jnp
import optax

from lmhp.model.batch import Batch
from lmhp.model.rng import named_key
from lmhp.model.transformer import Model
from lmhp.optim.chain import make_optimizer
from lmhp.optim.config import OptimizerConfig
from lmhp.optim.masks import frozen_mask
from lmhp.optim.schedules.shapes import unit_schedule
from lmhp.optim.transforms import global_norm
from lmhp.training.chunks import (
  MAX_CHUNK_STEPS,
  ChunkFunction,
  ChunkSteps,
  Hypers,
  Metrics,
  repeat_update,
)
from lmhp.training.config import TrainConfig
from lmhp.training.loss import batch_loss
from lmhp.typing import PyTree

METRICS = ('loss_nats', 'objective_nats', 'grad_norm', 'learning_rate')
"""Metrics of each update. `loss_nats` is the cross-entropy. `objective_nats` is the value that
training minimizes, with label smoothing, z-loss and auxiliary losses."""

MICROBATCH_GRAD_NORM = 'microbatch_grad_norm'
"""Metric of an update, if `train.measure_noise_scale` is True: the root of the mean squared
gradient norm of the microbatches. The gradient of a microbatch is that of the mean loss over its
tokens."""


def metric_names(train: TrainConfig) -> tuple[str, ...]:
  """Returns the names of the metrics of an update."""
  return (*METRICS, MICROBATCH_GRAD_NORM) if train.measure_noise_scale else METRICS


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TrainState:
  """Arrays that training changes.

  Attributes:
    step: Number of updates made, int32.
    params: Nested dict of float32 arrays.
    opt_state: State of the optimizer, for the trainable parameters.
    extras: Other arrays that a model carries from step to step. The models of lmhp have none.
  """

  step: jax.Array
  params: PyTree
  opt_state: PyTree
  extras: PyTree


Update = Callable[
  [TrainState, Hypers, Batch, jax.Array], tuple[TrainState, dict[str, jax.Array]]
]
"""`update(state, hypers, batch, schedule) -> (state, metrics)`. See `make_update`."""


# --- frozen parameters --------------------------------------------------------------


def partition(params: PyTree, mask: PyTree) -> tuple[PyTree, PyTree]:
  """Splits a tree by a mask, such as parameters into trainable and frozen ones.

  Args:
    params: Tree of arrays.
    mask: Tree of bools, True for a frozen leaf.

  Returns:
    Two trees, one of the trainable and one of the frozen leaves. Both have the structure of
    `params`, with None in place of the leaves of the other.
  """
  trainable = jax.tree.map(lambda x, is_frozen: None if is_frozen else x, params, mask)
  frozen = jax.tree.map(lambda x, is_frozen: x if is_frozen else None, params, mask)
  return trainable, frozen


def combine(trainable: PyTree, frozen: PyTree) -> PyTree:
  """Joins what `partition` split."""
  return jax.tree.map(
    lambda a, b: b if a is None else a, trainable, frozen, is_leaf=lambda x: x is None
  )


# --- one update ---------------------------------------------------------------------


def make_init(model: Model, optimizer: OptimizerConfig) -> Callable[..., TrainState]:
  """Returns the function that makes the first state of a run.

  Args:
    model: Network.
    optimizer: Section `optimizer`, whose traced numbers are not read.

  Returns:
    `init(hypers, params=None)`. If no parameters are given, it draws them from `train.seed`.
    The state of the optimizer is that before the first update.
  """

  def init(hypers: Hypers, params: PyTree = None) -> TrainState:
    if params is None:
      params = model.init(jax.random.key(hypers['train']['seed']), hypers['model'])
    # Parameters are kept in float32, also if a checkpoint has less precision.
    params = jax.tree.map(lambda x: x.astype(jnp.float32), params)
    trainable, _ = partition(params, frozen_mask(params, optimizer))
    # The first state of the optimizer does not depend on the value of the schedule, here 1.
    tx = make_optimizer(optimizer, hypers['optimizer'], jnp.float32(1.0))
    return TrainState(
      step=jnp.int32(0), params=params, opt_state=tx.init(trainable), extras={}
    )

  return init


def make_update(model: Model, optimizer: OptimizerConfig, train: TrainConfig) -> Update:
  """Returns the function that makes one update.

  Args:
    model: Network.
    optimizer: Section `optimizer`, whose traced numbers are not read.
    train: Section `train`, whose traced numbers are not read.

  Returns:
    `update(state, hypers, batch, schedule)`. `schedule` is the learning rate of this update as
    a fraction of its peak `optimizer.learning_rate`.
  """

  def update(
    state: TrainState, hypers: Hypers, batch: Batch, schedule: jax.Array
  ) -> tuple[TrainState, dict[str, jax.Array]]:
    # Only trainable parameters get gradients.
    trainable, frozen = partition(state.params, frozen_mask(state.params, optimizer))

    # Each step has its own dropout masks.
    key = None
    if has_dropout(model):
      seed_key = jax.random.key(hypers['train']['seed'])
      key = jax.random.fold_in(named_key(seed_key, 'dropout'), state.step)

    def loss(
      trainable: PyTree, batch: Batch, key: jax.Array | None, n_tokens: jax.Array
    ) -> tuple[jax.Array, tuple[jax.Array, PyTree]]:
      sums = batch_loss(model, train, combine(trainable, frozen), hypers, batch, key)
      return sums.objective / n_tokens, (sums.nll / n_tokens, sums.aux)

    # Compute the gradients, and let the optimizer turn them into updates.
    result = _gradients(loss, train, trainable, batch, key)
    grad_norm = global_norm(result.grads)
    tx = make_optimizer(optimizer, hypers['optimizer'], schedule, grad_norm=grad_norm)
    updates, opt_state = tx.update(result.grads, state.opt_state, trainable)

    # Apply the updates. Then update the parameters that have no gradient, such as the
    # balancing biases of a router.
    params = combine(optax.apply_updates(trainable, updates), frozen)
    params = model.update_state(params, result.aux, hypers['model'])

    metrics = {
      'loss_nats': result.nll,
      'objective_nats': result.objective,
      'grad_norm': grad_norm,
      'learning_rate': hypers['optimizer']['learning_rate'] * schedule,
    }
    if train.measure_noise_scale:
      metrics[MICROBATCH_GRAD_NORM] = result.microbatch_grad_norm
    new_state = TrainState(
      step=state.step + 1, params=params, opt_state=opt_state, extras=state.extras
    )
    return new_state, metrics

  return update


def has_dropout(model: Model) -> bool:
  """Returns True if the network has dropout.

  A traced rate counts as dropout: its placeholder in `model.cfg` is not equal to 0.
  """
  cfg = model.cfg
  rates = (cfg.embedding_dropout, cfg.attention_dropout, cfg.residual_dropout)
  return any(rate != 0 for rate in rates)


@dataclasses.dataclass(frozen=True)
class _Gradients:
  """Gradients of a batch, and the losses that were computed with them.

  Attributes:
    objective: Mean objective per token, float32, in nats.
    nll: Mean cross-entropy per token, float32, in nats.
    grads: Gradient of the objective, with the structure of the trainable parameters.
    microbatch_grad_norm: See `MICROBATCH_GRAD_NORM`. 0 if it is not measured.
    aux: Auxiliary outputs of the layers, the mean over microbatches.
  """

  objective: jax.Array
  nll: jax.Array
  grads: PyTree
  microbatch_grad_norm: jax.Array
  aux: PyTree


def _gradients(
  loss: Callable[..., tuple[jax.Array, tuple[jax.Array, PyTree]]],
  train: TrainConfig,
  trainable: PyTree,
  batch: Batch,
  key: jax.Array | None,
) -> _Gradients:
  """Computes gradients over a batch, one microbatch after the other.

  Args:
    loss: Function `loss(trainable, batch, key, n_tokens)`. It returns the objective, summed
      over a batch and divided by `n_tokens`, and a pair: the cross-entropy, summed and
      divided in the same way, and the auxiliary outputs of the layers.
    train: Section `train`, whose traced numbers are not read.
    trainable: Trainable parameters.
    batch: Batch of all microbatches.
    key: PRNG key of dropout, or None.
  """
  # The loss of each microbatch is divided by the token weights of the whole batch. So the sum
  # over microbatches is the mean over the tokens of the batch.
  n_tokens = _total_weight(batch)
  value_and_grad = jax.value_and_grad(loss, has_aux=True)
  if train.n_microbatches == 1:
    (total, (nll, aux)), grads = value_and_grad(trainable, batch, key, n_tokens)
    return _Gradients(total, nll, grads, jnp.float32(0), aux)

  n = train.n_microbatches

  def add_microbatch(
    sums: tuple[jax.Array, jax.Array, PyTree, jax.Array],
    numbered: tuple[jax.Array, Batch],
  ) -> tuple[tuple[jax.Array, jax.Array, PyTree, jax.Array], PyTree]:
    i, microbatch = numbered
    microbatch_key = None if key is None else jax.random.fold_in(key, i)
    (total, (nll, aux)), grads = value_and_grad(
      trainable, microbatch, microbatch_key, n_tokens
    )
    norm = 0.0
    if train.measure_noise_scale:
      # Rescale the gradient: the loss is then the mean over the tokens of this microbatch.
      norm = global_norm(grads) * n_tokens / _total_weight(microbatch)
    terms = (total, nll, grads, jnp.square(norm) / n)
    return jax.tree.map(jnp.add, sums, terms), aux

  # Accumulate over the microbatches.
  microbatches = jax.tree.map(
    lambda x: x.reshape(n, x.shape[0] // n, *x.shape[1:]), batch
  )
  zero = jnp.float32(0)
  zeros = (zero, zero, jax.tree.map(jnp.zeros_like, trainable), zero)
  sums, aux_per_microbatch = jax.lax.scan(
    add_microbatch, zeros, (jnp.arange(n), microbatches)
  )
  total, nll, grads, mean_squared_norm = sums
  return _Gradients(
    objective=total,
    nll=nll,
    grads=grads,
    microbatch_grad_norm=jnp.sqrt(mean_squared_norm),
    aux=jax.tree.map(lambda x: jnp.mean(x, axis=0), aux_per_microbatch),
  )


def _total_weight(batch: Batch) -> jax.Array:
  """Returns the sum of the token weights of a batch, but at least 1."""
  _, weights_BL = batch.targets_and_weights()
  return jnp.maximum(jnp.sum(weights_BL), 1.0)


# --- a chunk of updates -------------------------------------------------------------


def make_chunk(
  update: Update,
  take_batch: Callable[[PyTree, Hypers, jax.Array, jax.Array], Batch],
  total_steps: int,
  metric_names: tuple[str, ...] = METRICS,
  max_chunk_steps: int = MAX_CHUNK_STEPS,
  hold_after_nonfinite: bool = False,
) -> ChunkFunction:
  """Returns the function that makes the updates of a chunk.

  Args:
    update: Function that makes one update.
    take_batch: `take_batch(data, hypers, step, i)` returns the batch of a step. i is the index
      of the step in the chunk, from 0.
    total_steps: Length of the schedule, in updates.
    metric_names: Names of the metrics of an update.
    max_chunk_steps: Largest number of steps of a chunk, and length of each metric of a chunk.
    hold_after_nonfinite: If True, the first update whose loss is not finite, and all updates
      after it, leave the state unchanged. If False, every update changes the state.
  """

  def chunk(
    state: TrainState, hypers: Hypers, data: PyTree, steps: ChunkSteps
  ) -> tuple[TrainState, Metrics]:
    # Compute the schedule of all S = max_chunk_steps steps before the loop. Inside the loop, the
    # compiler would copy its formulas into the update of every parameter.
    def schedule_at(step: jax.typing.ArrayLike) -> jax.Array:
      return unit_schedule(hypers['schedule'], step, total_steps)

    cooldown = steps.cooldown
    steps_S = steps.first_step + jnp.arange(max_chunk_steps)
    schedule_S = jax.vmap(schedule_at)(steps_S)
    # A cooldown falls from the learning rate at its first step.
    start = schedule_at(cooldown.first_step)
    schedule_S = jnp.where(
      cooldown.n_steps > 0, start * cooldown.multiplier(steps_S), schedule_S
    )

    def update_in_chunk(
      state: TrainState, i: jax.Array
    ) -> tuple[TrainState, dict[str, jax.Array]]:
      batch = take_batch(data, hypers, steps.first_step + i, i)
      return update(state, hypers, batch, schedule_S[i])

    return repeat_update(
      update_in_chunk,
      state,
      steps,
      metric_names,
      hold_after_nonfinite='loss_nats' if hold_after_nonfinite else None,
      max_chunk_steps=max_chunk_steps,
    )

  return chunk
