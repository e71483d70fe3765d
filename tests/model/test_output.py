"""The head against float64: tied, untied, factorized; bias, scale and cap in their order."""

import jax
import numpy as np
import pytest

from lmhp.model.output import Output, soft_cap


@pytest.mark.parametrize(
  'fields',
  [
    dict(),
    dict(tie_embeddings=False),
    dict(head_bias=True, logit_scale=0.25, logit_cap=2.0),
    dict(tie_embeddings=False, head_bias=True, embedding_dim=10),
    dict(embedding_dim=10, logit_cap=0.5),
  ],
  ids=str,
)
def test_logits(jit, tiny, fields):
  cfg, rng = tiny(**fields), np.random.default_rng(0)
  draw = lambda *shape: rng.standard_normal(shape).astype(np.float32)
  width = cfg.embedding_dim
  x, table, kernel, bias, narrow = (
    draw(3, 5, 14),
    draw(31, width),
    draw(width, 31),
    draw(31),
    draw(14, 10),
  )
  params = {} if cfg.tie_embeddings else {'kernel': kernel}
  params |= {'bias': bias} if cfg.head_bias else {}
  params |= {'project': {'kernel': narrow}} if cfg.is_factorized else {}
  shapes = jax.eval_shape(lambda: Output(cfg).init(jax.random.key(0), x, table))
  assert jax.tree.map(np.shape, params) == jax.tree.map(
    lambda s: s.shape, shapes.get('params', {})
  )
  got = jit(Output(cfg).apply)({'params': params}, x, table)
  expected = x.astype(np.float64) @ narrow if cfg.is_factorized else x.astype(np.float64)
  expected = expected @ (table.T if cfg.tie_embeddings else kernel) + (
    bias if cfg.head_bias else 0
  )
  expected = expected * cfg.logit_scale
  if cfg.logit_cap:
    expected = cfg.logit_cap * np.tanh(expected / cfg.logit_cap)
  np.testing.assert_allclose(got, expected, rtol=0, atol=3e-5)
  assert got.dtype == np.float32
  flat = jit(Output(cfg).apply)(
    {'params': params}, x.reshape(15, 14), table
  )  # as the loss calls it
  np.testing.assert_allclose(flat, expected.reshape(15, 31), rtol=0, atol=3e-5)


def test_soft_cap(jit):
  x = np.array([-1e9, -1.0, 0.0, 1e-3, 50.0, np.inf], np.float32)
  np.testing.assert_allclose(
    jit(lambda x: soft_cap(x, 30.0))(x),
    30 * np.tanh(x.astype(np.float64) / 30),
    rtol=1e-6,
  )
  assert soft_cap(x, None) is x
  assert float(jit(jax.grad(lambda x: soft_cap(x, 30.0)))(0.0)) == 1.0
