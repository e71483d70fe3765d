"""One update, and a chunk of them in one program.

Everything here is pure: a state is arrays alone, the numbers come as `Hypers`, the batch is a function of the step. So
the same step runs alone, under `vmap` over a population, or sharded.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Callable, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from lmhp.model import experts
from lmhp.model.rng import named_key
from lmhp.model.transformer import Model
from lmhp.optim.chain import OptimizerConfig, make_optimizer
from lmhp.optim.masks import frozen_mask
from lmhp.optim.schedules import unit_schedule
from lmhp.optim.transforms import global_norm
from lmhp.training.config import TrainConfig
from lmhp.training.loss import objective, token_losses

METRICS = ('loss_nats', 'objective_nats', 'grad_norm', 'learning_rate')
MICROBATCH_GRAD_NORM = 'microbatch_grad_norm'
"""With `train.measure_noise_scale`: root of the mean squared norm of the gradients of a batch's parts, each of its own mean."""


def metric_names(train: TrainConfig) -> tuple[str, ...]:
  """The metrics of an update."""
  return (*METRICS, MICROBATCH_GRAD_NORM) if train.measure_noise_scale else METRICS


@dataclasses.dataclass(frozen=True)
class TrainState:
  """All that training changes; arrays alone.

  Attributes:
    step: int32, updates made.
    params: nested dict of float32 arrays.
    opt_state: the optimizer's, of the trainable parameters.
    extras: what else a model carries from step to step.
  """

  step: jax.Array
  params: Any
  opt_state: Any
  extras: Any


jax.tree_util.register_dataclass(
  TrainState, ['step', 'params', 'opt_state', 'extras'], []
)


class Cooldown(NamedTuple):
  """A fork's own schedule: straight down to zero from where the schedule stood.

  Attributes:
    first_step: the step at which the fork leaves the run.
    n_steps: its length; 0 is no fork.
  """

  first_step: Any = np.int32(0)
  n_steps: Any = np.int32(0)

  def falling(self, steps_S: jax.Array) -> jax.Array:
    """Share of the rate at the fork, 1 at its first step; zero would be reached one step after its last."""
    passed = (steps_S - self.first_step) / jnp.maximum(self.n_steps, 1)
    return 1 - jnp.clip(passed.astype(jnp.float32), 0, 1)


Init = Callable[..., TrainState]
Update = Callable[[TrainState, dict, Any, jax.Array], tuple[TrainState, dict]]


def partition(params: Any, mask: Any) -> tuple[Any, Any]:
  """Trainable and frozen parameters, each a tree of the full form with None where the other has the leaf."""
  trainable = jax.tree.map(lambda p, is_frozen: None if is_frozen else p, params, mask)
  frozen = jax.tree.map(lambda p, is_frozen: p if is_frozen else None, params, mask)
  return trainable, frozen


def combine(trainable: Any, frozen: Any) -> Any:
  """The full tree again."""
  return jax.tree.map(
    lambda a, b: b if a is None else a, trainable, frozen, is_leaf=lambda x: x is None
  )


def make_init(model: Model, optimizer: OptimizerConfig) -> Init:
  """`init(hypers, params=None) -> TrainState`: parameters given, or drawn from `train.seed`; optimizer state empty."""

  def init(hypers: dict, params: Any = None) -> TrainState:
    if params is None:
      params = model.init(jax.random.key(hypers['train']['seed']), hypers['model'])
    params = jax.tree.map(lambda x: x.astype(jnp.float32), params)
    trainable, _ = partition(params, frozen_mask(params, optimizer))
    tx = make_optimizer(optimizer, hypers['optimizer'], jnp.float32(1.0))
    return TrainState(jnp.int32(0), params, tx.init(trainable), {})

  return init


def make_update(model: Model, optimizer: OptimizerConfig, train: TrainConfig) -> Update:
  """`update(state, hypers, batch, schedule) -> (state, metrics)`: one step of training.

  Args:
    model: the network.
    optimizer: structure of the optimizer.
    train: structure of the run.

  Returns:
    A function whose `schedule` is `unit_schedule` at the state's step.
  """

  def update(
    state: TrainState, hypers: dict, batch: Any, schedule: jax.Array
  ) -> tuple[TrainState, dict]:
    trainable, frozen = partition(state.params, frozen_mask(state.params, optimizer))
    key = None
    if dropped_out(model):
      key = jax.random.fold_in(
        named_key(jax.random.key(hypers['train']['seed']), 'dropout'), state.step
      )
    total, losses, grads, part_norm, aux = _gradients(
      model, train, trainable, frozen, hypers, batch, key
    )
    grad_norm = global_norm(grads)
    tx = make_optimizer(optimizer, hypers['optimizer'], schedule, grad_norm=grad_norm)
    updates, opt_state = tx.update(grads, state.opt_state, trainable)
    params = combine(optax.apply_updates(trainable, updates), frozen)
    if model.cfg.router_correction:
      params = experts.corrected(params, aux, hypers['model'])
    rate = hypers['optimizer']['learning_rate'] * schedule
    metrics = dict(
      zip(metric_names(train), (losses, total, grad_norm, rate, part_norm))
    )
    return TrainState(state.step + 1, params, opt_state, state.extras), metrics

  return update


def dropped_out(model: Model) -> bool:
  """Whether the structure has dropout at all."""
  cfg = model.cfg
  return any(
    rate != 0
    for rate in (cfg.embedding_dropout, cfg.attention_dropout, cfg.residual_dropout)
  )


def _gradients(model, train, trainable, frozen, hypers, batch, key):
  """Mean objective, mean cross-entropy and gradients over a batch, cut into `train.n_microbatches`, the parts' norm, and `aux`."""
  weight = jnp.maximum(jnp.sum(batch.weights), 1.0)

  def loss(trainable, part, key):
    objective_sum, nll_sum, aux = batch_loss(
      model, train, combine(trainable, frozen), hypers, part, key
    )
    return objective_sum / weight, (nll_sum / weight, aux)

  value_and_grad = jax.value_and_grad(loss, has_aux=True)
  if train.n_microbatches == 1:
    (total, (nll, aux)), grads = value_and_grad(trainable, batch, key)
    return total, nll, grads, jnp.float32(0), aux

  def add(sums, numbered):
    i, part = numbered
    (total, (nll, aux)), grads = value_and_grad(
      trainable, part, None if key is None else jax.random.fold_in(key, i)
    )
    norm = (
      global_norm(grads) * weight / jnp.maximum(jnp.sum(part.weights), 1.0)
      if train.measure_noise_scale
      else 0.0
    )
    return jax.tree.map(
      jnp.add, sums, (total, nll, grads, jnp.square(norm) / train.n_microbatches)
    ), aux

  n = train.n_microbatches
  parts = jax.tree.map(lambda x: x.reshape(n, x.shape[0] // n, *x.shape[1:]), batch)
  zeros = (
    jnp.float32(0),
    jnp.float32(0),
    jax.tree.map(jnp.zeros_like, trainable),
    jnp.float32(0),
  )
  (total, nll, grads, squared), aux = jax.lax.scan(add, zeros, (jnp.arange(n), parts))
  return (
    total,
    nll,
    grads,
    jnp.sqrt(squared),
    jax.tree.map(lambda x: jnp.mean(x, axis=0), aux),
  )


def batch_loss(model, train, params, hypers, batch, key=None):
  """Sums over a batch's tokens of the objective and of the cross-entropy, nats, and what experts say of their routing.

  Their losses, means over all tokens, enter the objective as if each token that counts had the mean.

  Args:
    model: the network.
    train: structure; `loss_chunks` parts of the tokens go through the head one after the other.
    params: full parameter tree.
    hypers: traced numbers of all sections.
    batch: tokens, targets, weights, each (B, L), and what else the model reads.
    key: for dropout, or None.
  """
  x_BLD, aux, _ = model.features(params, hypers['model'], batch, key)

  def part(x_TD, targets_T, weights_T):
    terms = token_losses(model.logits(params, hypers['model'], x_TD), targets_T)
    losses_T = objective(
      terms, hypers['train']['label_smoothing'], hypers['train']['z_loss']
    )
    return jnp.sum(losses_T * weights_T), jnp.sum(terms.nll * weights_T)

  tokens = (
    x_BLD.reshape(-1, x_BLD.shape[-1]),
    batch.targets.reshape(-1),
    batch.weights.reshape(-1),
  )
  of_routing = (
    jnp.sum(batch.weights) * experts.objective(aux, hypers['model']) if aux else 0.0
  )
  if train.loss_chunks == 1:
    objective_sum, nll_sum = part(*tokens)
    return objective_sum + of_routing, nll_sum, aux
  cut = lambda x: x.reshape(train.loss_chunks, -1, *x.shape[1:])
  sums = jax.lax.map(lambda t: jax.checkpoint(part)(*t), jax.tree.map(cut, tokens))
  objective_sum, nll_sum = (jnp.sum(s) for s in sums)
  return objective_sum + of_routing, nll_sum, aux


def make_chunk(
  update: Update,
  take: Callable[..., Any],
  total_steps: int,
  capacity: int,
  freeze: bool = False,
  names: tuple[str, ...] = METRICS,
) -> Callable[..., Any]:
  """`chunk(state, hypers, data, n_steps, first_step, cooldown) -> (state, metrics)`: up to `capacity` updates.

  How many is an argument and not part of the program, so that one compile serves every chunk length. The schedule of
  all of them is computed before the loop: inside, the compiler would copy its formulas into every parameter's update.

  Args:
    update: one step.
    take: `(data, hypers, step, i) -> batch`, the batch of a step, the chunk's i-th.
    total_steps: length of the schedule.
    capacity: most steps of a chunk, the length of the metrics.
    freeze: whether a state stays as it is from its first loss on that is not finite. Its step stays behind then. For
      members of a population, which cannot stop alone.
    names: the metrics of an update.

  Returns:
    A function of a state, its numbers, the data, the number of updates, the number of the first of them, and a
    `Cooldown` that replaces the schedule unless its length is 0.
  """

  def chunk(state, hypers, data, n_steps, first_step, cooldown):
    steps_S = first_step + jnp.arange(capacity)
    schedule_S = jax.vmap(
      lambda step: unit_schedule(hypers['schedule'], step, total_steps)
    )(steps_S)
    peak = unit_schedule(hypers['schedule'], cooldown.first_step, total_steps)
    schedule_S = jnp.where(
      cooldown.n_steps > 0, peak * cooldown.falling(steps_S), schedule_S
    )

    def body(i, carry):
      state, metrics = carry
      new, now = update(
        state, hypers, take(data, hypers, first_step + i, i), schedule_S[i]
      )
      if freeze:
        lives = jnp.isfinite(now['loss_nats']) & (state.step == first_step + i)
        new = jax.tree.map(lambda a, b: jnp.where(lives, a, b), new, state)
      return new, {name: metrics[name].at[i].set(now[name]) for name in metrics}

    metrics = {name: jnp.zeros(capacity, jnp.float32) for name in names}
    return jax.lax.fori_loop(0, n_steps, body, (state, metrics))

  return chunk
