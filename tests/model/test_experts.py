"""Experts: routing against numpy, the layers that have them, balance, what a token passes through, and training with them."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lmhp.counting.parameters import count, count_tree
from lmhp.errors import ConfigError
from lmhp.hypers import split
from lmhp.model import experts
from lmhp.model.batch import Batch
from lmhp.model.transformer import build
from lmhp.optim.config import OptimizerConfig
from lmhp.optim.masks import decay_mask, frozen_mask
from lmhp.optim.transforms import per_layer
from lmhp.params import list_params, walk_arrays
from lmhp.training.config import TrainConfig
from lmhp.training.loss import batch_loss
from lmhp.training.step import make_init, make_update

T, E = 23, 6
EXPERTS = dict(
  n_experts=E, experts_per_token=2, d_ff_expert=10, gated=True, activation='silu'
)
DEEPSEEK = EXPERTS | dict(
  router_score='sigmoid',
  router_correction=True,
  n_shared_experts=2,
  router_groups=3,
  router_groups_per_token=2,
  router_group_score='top2',
)


def numpy_route(
  logits,
  k,
  score='softmax',
  normalize=True,
  scale=1.0,
  groups=1,
  taken=1,
  best=1,
  correction=0.0,
):
  """Token by token, in float64."""
  logits = np.asarray(logits, np.float64)
  scores = (
    1 / (1 + np.exp(-logits))
    if score == 'sigmoid'
    else np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
  )
  shares, chosen = [], []
  for row in scores:
    choice = row + correction
    by_group = choice.reshape(groups, -1)
    ranks = np.sort(by_group, axis=1)[:, -best:].sum(1)
    open_ = np.isin(np.arange(groups), np.argsort(-ranks)[:taken])
    order = np.argsort(-np.where(np.repeat(open_, by_group.shape[1]), choice, -np.inf))[
      :k
    ]
    share = row[order] / (row[order].sum() if normalize else 1) * scale
    shares.append(share)
    chosen.append(order)
  return np.array(shares), np.array(chosen)


@pytest.mark.parametrize(
  'fields, expected',
  [
    (dict(), dict()),
    (dict(router_normalize=False, router_scale=2.5), dict(normalize=False, scale=2.5)),
    (dict(router_score='sigmoid'), dict(score='sigmoid')),
    (dict(router_groups=3, router_groups_per_token=2), dict(groups=3, taken=2)),
    (
      dict(
        router_groups=3,
        router_groups_per_token=1,
        router_group_score='top2',
        router_score='sigmoid',
      ),
      dict(groups=3, taken=1, best=2, score='sigmoid'),
    ),
  ],
)
def test_routing(tiny, fields, expected):
  cfg = tiny(**EXPERTS | fields)
  rng = np.random.default_rng(0)
  logits, correction = rng.normal(size=(T, E)), rng.normal(size=E) * 0.3
  for c in (None, correction):
    _, shares, chosen = experts.route(
      cfg, jnp.asarray(logits, jnp.float32), None if c is None else jnp.asarray(c)
    )
    theirs = numpy_route(logits, 2, correction=0.0 if c is None else c, **expected)
    np.testing.assert_array_equal(chosen, theirs[1])
    np.testing.assert_allclose(shares, theirs[0], rtol=1e-5)


def test_a_softmax_over_the_chosen_is_a_softmax_over_all_normalized(tiny):
  logits = jnp.asarray(np.random.default_rng(0).normal(size=(T, E)), jnp.float32)
  _, shares, chosen = experts.route(tiny(**EXPERTS), logits, None)
  np.testing.assert_allclose(
    shares, jax.nn.softmax(jnp.take_along_axis(logits, chosen, axis=1)), rtol=1e-5
  )


def test_the_balance_of_even_and_of_lopsided_routing():
  even = jnp.asarray(
    np.arange(2 * E).reshape(E, 2) % E
  )  # twelve choices, two of each expert
  said = experts.balance(jnp.zeros((E, E)), jnp.full((E, E), 1 / E), even)
  np.testing.assert_allclose(said['expert_load'], 1 / E, rtol=1e-6)
  np.testing.assert_allclose(said['load_balance'], 1, rtol=1e-6)
  np.testing.assert_allclose(said['router_z'], np.log(E) ** 2, rtol=1e-6)
  scores = jnp.asarray(np.eye(E)[np.zeros(T, int)], jnp.float32)
  assert experts.balance(jnp.zeros((T, E)), scores, jnp.zeros((T, 1), jnp.int32))[
    'load_balance'
  ] == pytest.approx(E)
  lopsided = lambda logits: experts.balance(
    logits, jax.nn.softmax(logits), jnp.zeros((T, 1), jnp.int32)
  )['load_balance']
  assert (
    jax.grad(lopsided)(jnp.zeros((T, E)))[:, 0] > 0
  ).all()  # the expert that has all is pushed down


@pytest.mark.parametrize(
  'fields, layers',
  [
    (dict(), [1, 1, 1, 1, 1]),
    (dict(n_dense_layers=2), [0, 0, 1, 1, 1]),
    (dict(experts_every=2), [0, 1, 0, 1, 0]),
    (dict(n_dense_layers=1, dense_layers=(3,)), [0, 1, 1, 0, 1]),
  ],
)
def test_layers_counts_and_what_a_token_passes_through(tiny, fields, layers):
  cfg = tiny(n_layers=5, n_shared_experts=1, **EXPERTS | fields)
  assert [kind.experts for kind in cfg.layer_specs] == [bool(x) for x in layers]
  shapes = build(cfg).shapes
  assert count(cfg).by_kind == count_tree(shapes).by_kind
  segments = [
    leaf.path.split('/')[1]
    for leaf in list_params(shapes)
    if leaf.path.endswith('experts/router/kernel')
  ]
  one = sum(
    leaf.size // leaf.shape[0] // E
    for leaf in list_params(shapes)
    if f'/{segments[0]}/experts/' in leaf.path and leaf.spec.axes.startswith('E |')
  )
  assert one == 3 * 14 * 10
  assert (
    count(cfg).inactive
    == sum(layers) * (E - 2) * one
    == count(cfg).total - count(cfg).active
  )


@pytest.mark.parametrize(
  'fields',
  [EXPERTS, DEEPSEEK, EXPERTS | dict(expert_input_scaled=True, router_normalize=False)],
)
def test_a_layer_is_the_sum_of_its_experts(tiny, fill, fields):
  cfg = tiny(**fields)
  x = np.random.default_rng(0).normal(size=(3, 5, 14)).astype(np.float32)
  module = experts.Experts(cfg)
  params = fill(
    jax.eval_shape(lambda: module.init(jax.random.key(0), jnp.asarray(x)))['params']
  )
  y, said = module.apply({'params': params}, jnp.asarray(x))
  p = jax.tree.map(lambda a: np.asarray(a, np.float64), params)
  silu = lambda v: v / (1 + np.exp(-v))
  through = lambda v, part, at=...: (
    silu(v @ part['gate']['kernel'][at])
    * (v @ part['up']['kernel'][at])
    @ (part['down']['kernel'][at])
  )
  rows = x.reshape(-1, 14).astype(np.float64)
  groups = (
    dict(score='sigmoid', groups=3, taken=2, best=2, correction=p['correction'])
    if cfg.router_correction
    else {}
  )
  shares, chosen = numpy_route(
    rows @ p['router']['kernel'], 2, normalize=cfg.router_normalize, **groups
  )
  for t, row in enumerate(rows):
    expected = sum(
      through(s * row, p, e) if cfg.expert_input_scaled else s * through(row, p, e)
      for s, e in zip(shares[t], chosen[t])
    )
    expected = expected + (through(row, p['shared']) if cfg.n_shared_experts else 0)
    np.testing.assert_allclose(y.reshape(-1, 14)[t], expected, rtol=1e-4, atol=1e-4)
  np.testing.assert_allclose(
    said['expert_load'],
    np.bincount(chosen.reshape(-1), minlength=E) / chosen.size,
    rtol=1e-6,
  )


@pytest.mark.parametrize(
  'fields, said',
  [
    (
      dict(experts_per_token=7),
      'model.experts_per_token: got 7, expected at most model.n_experts=6',
    ),
    (dict(router_groups=4), 'model.router_groups: got 4, expected a divisor'),
    (dict(router_groups=2, router_groups_per_token=3), 'model.router_groups_per_token'),
    (dict(router_groups=6, router_group_score='top2'), 'model.router_group_score'),
    (dict(router_groups=6, experts_per_token=2), 'model.experts_per_token'),
    (
      dict(n_dense_layers=2),
      'model.n_experts: got 6, expected 0 where no layer has experts',
    ),
    (dict(router_score='tanh'), 'model.router_score'),
  ],
)
def test_what_does_not_fit_is_one_line(tiny, fields, said):
  with pytest.raises(ConfigError, match=said):
    tiny(**EXPERTS | fields)


# --- training --------------------------------------------------------------------------------------------------------


def prepared(cfg, **train):
  """Model, structures, numbers, state and a batch."""
  sections = dict(
    model=cfg,
    optimizer=OptimizerConfig(
      name='sgd', learning_rate=0.1, clip_norm=float('inf'), weight_decay=0.0
    ),
    train=TrainConfig(batch_size=4, steps=9, **train),
  )
  halves = {name: split(section) for name, section in sections.items()}
  structures, hypers = (
    {name: half[i] for name, half in halves.items()} for i in (0, 1)
  )
  model = build(cfg)
  tokens = np.random.default_rng(0).integers(0, 31, (4, 6), dtype=np.int32)
  batch = Batch(
    jnp.asarray(tokens[:, :-1]), jnp.asarray(tokens[:, 1:]), jnp.ones((4, 5))
  )
  state = make_init(model, structures['optimizer'])(hypers)
  return model, structures, hypers, state, batch


def test_routing_losses_add_their_gradients(tiny, jit):
  """SGD's update changes by minus the rate times coefficient times the gradient of the mean loss over layers."""
  model, structures, hypers, state, batch = prepared(tiny(**EXPERTS))
  update = jit(make_update(model, structures['optimizer'], structures['train']))
  change = lambda **numbers: (
    update(
      state, hypers | {'model': hypers['model'] | numbers}, batch, jnp.float32(1.0)
    )[0].params
  )
  off = change(load_balance_loss=jnp.float32(0), router_z_loss=jnp.float32(0))
  for name, said in (
    ('load_balance_loss', 'load_balance'),
    ('router_z_loss', 'router_z'),
  ):
    on = change(
      **{
        'load_balance_loss': jnp.float32(0),
        'router_z_loss': jnp.float32(0),
        name: jnp.float32(0.7),
      }
    )
    mean = lambda p: jnp.mean(
      model.features(p, hypers['model'], batch)[1]['decoder/segment_0'][said]
    )
    gradient = dict(walk_arrays(jit(jax.grad(mean))(state.params)))
    base = dict(walk_arrays(off))
    for path, x in walk_arrays(on):
      np.testing.assert_allclose(
        x - base[path], -0.1 * 0.7 * gradient[path], rtol=1e-3, atol=1e-6, err_msg=path
      )
    assert any(np.abs(g).max() > 1e-3 for g in gradient.values())


def test_a_correction_moves_against_the_load_and_is_no_parameter(tiny, jit):
  model, structures, hypers, state, batch = prepared(tiny(**DEEPSEEK))
  update = jit(make_update(model, structures['optimizer'], structures['train']))
  at = lambda params: params['decoder']['segment_0']['experts']['correction']
  corrections = [leaf for leaf in list_params(state.params) if leaf.role == 'state']
  assert len(corrections) == 1 and (at(state.params) == 0).all()
  assert at(frozen_mask(state.params, structures['optimizer'])) and not at(
    decay_mask(state.params, OptimizerConfig())
  )
  assert (
    count(model.cfg).total
    == sum(leaf.size for leaf in list_params(state.params)) - corrections[0].size
  )
  for _ in range(3):
    load = model.features(state.params, hypers['model'], batch)[1]['decoder/segment_0'][
      'expert_load'
    ]
    new = update(state, hypers, batch, jnp.float32(1.0))[0]
    np.testing.assert_allclose(
      at(new.params), at(state.params) + 0.001 * np.sign(1 / E - load), atol=1e-7
    )
    state = new
  lopsided = jnp.zeros((2, E)).at[:, 0].set(0.4)  # everybody takes the first expert
  params = jax.tree.map(lambda x: x, state.params)
  params['decoder']['segment_0']['experts']['correction'] = lopsided
  state = dataclasses.replace(state, params=params)
  spread = lambda state: float(
    jnp.std(
      model.features(state.params, {}, batch)[1]['decoder/segment_0']['expert_load']
    )
  )
  before, fast = (
    spread(state),
    hypers | {'model': hypers['model'] | {'router_correction_rate': jnp.float32(0.01)}},
  )
  for _ in range(60):
    state = update(state, fast, batch, jnp.float32(0.0))[
      0
    ]  # nothing learns but the correction
  assert spread(state) < 0.5 * before


def test_parts_of_a_batch_weigh_their_routing_by_their_tokens(tiny, jit):
  """Two halves, each with its own loads: the objective is the mean of both."""
  model, structures, hypers, state, batch = prepared(
    tiny(**EXPERTS), grad_accumulation_steps=2
  )
  metrics = jit(make_update(model, structures['optimizer'], structures['train']))(
    state, hypers, batch, jnp.float32(1.0)
  )[1]
  halves = [jax.tree.map(lambda x: x[i : i + 2], batch) for i in (0, 2)]
  sums = [
    batch_loss(model, structures['train'], state.params, hypers, half).objective
    for half in halves
  ]
  np.testing.assert_allclose(metrics['objective_nats'], sum(sums) / 20, rtol=1e-5)


def test_members_with_their_own_coefficients_train_as_alone(tiny, jit):
  model, structures, hypers, state, batch = prepared(tiny(**DEEPSEEK))
  update = make_update(model, structures['optimizer'], structures['train'])
  with_ = lambda c: hypers | {'model': hypers['model'] | {'load_balance_loss': c}}
  coefficients = jnp.asarray([0.0, 0.03, 0.5])
  together = jit(
    jax.vmap(lambda c: update(state, with_(c), batch, jnp.float32(1.0))[0].params)
  )(coefficients)
  for i, c in enumerate(coefficients):
    alone = dict(
      walk_arrays(jit(update)(state, with_(c), batch, jnp.float32(1.0))[0].params)
    )
    for path, x in walk_arrays(together):
      np.testing.assert_allclose(x[i], alone[path], rtol=1e-4, atol=1e-6, err_msg=path)


def test_an_optimizer_of_matrices_sees_each_expert_by_itself(tiny, fill):
  """What divides by the norm of a whole matrix gives every expert norm one."""
  import optax

  shapes = build(tiny(**EXPERTS)).shapes
  gradients = fill(shapes)
  tx = per_layer(
    optax.stateless(
      lambda g, params: jax.tree.map(lambda x: x / jnp.sqrt(jnp.sum(x * x)), g)
    )
  )
  updates, _ = tx.update(gradients, tx.init(gradients), gradients)
  kernel = updates['decoder']['segment_0']['experts']['up']['kernel']
  np.testing.assert_allclose(
    np.sqrt(np.sum(np.square(kernel), axis=(2, 3))), np.ones((2, E)), rtol=1e-5
  )


def test_causality_and_a_cache(tiny, jit, fill):
  model = build(tiny(**DEEPSEEK))
  params, tokens = fill(model.shapes), jnp.arange(15).reshape(3, 5)
  whole = jit(model.apply)(params, tokens)
  np.testing.assert_allclose(
    jit(model.apply)(params, tokens.at[:, 4].set(30))[:, :4], whole[:, :4], atol=1e-5
  )
  cache = model.init_cache(3, 5)
  for t in range(5):
    x_BLD, _, cache = model.features(
      params, {}, Batch(tokens[:, t : t + 1]), cache=cache
    )
    np.testing.assert_allclose(
      model.logits(params, {}, x_BLD)[:, 0], whole[:, t], atol=2e-5
    )
