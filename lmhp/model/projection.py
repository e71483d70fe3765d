"""The one linear map that all parts use: its precision, its accumulation and its gradient.

Products take operands in the compute dtype and accumulate in float32, forward and backward; what flows between parts
stays float32. In bfloat16 the gradient is written out, because autodiff would multiply a float32 cotangent with a
bfloat16 operand, which no processor has a fast product for, and would round the result.
"""

from __future__ import annotations

import functools
import math

import flax.linen as nn
import jax
import jax.numpy as jnp

from lmhp.model.config import ModelConfig


def contract(spec: str, a: jax.Array, b: jax.Array, dtype: str) -> jax.Array:
  """An einsum of two arrays with operands in `dtype` and a float32 result, forward and backward.

  Args:
    spec: such as `ti,io->to`; each letter stands in at least two of the three terms.
    a: float32.
    b: float32.
    dtype: of the operands, 'float32' or 'bfloat16'.
  """
  if dtype == 'float32':
    return jnp.einsum(spec, a, b)
  return _contract_rounded(spec, a, b, dtype)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 3))
def _contract_rounded(spec, a, b, dtype):
  return jnp.einsum(spec, a.astype(dtype), b.astype(dtype), preferred_element_type=jnp.float32)


def _contract_forward(spec, a, b, dtype):
  a, b = a.astype(dtype), b.astype(dtype)
  return _contract_rounded(spec, a, b, dtype), (a, b)


def _contract_backward(spec, dtype, saved, g):
  a, b = saved
  terms, out = spec.split('->')
  of_a, of_b = terms.split(',')
  return (_contract_rounded(f'{out},{of_b}->{of_a}', g, b, dtype),
          _contract_rounded(f'{of_a},{out}->{of_b}', a, g, dtype))


_contract_rounded.defvjp(_contract_forward, _contract_backward)


class Projection(nn.Module):
  """A linear map over the last axes of its input.

  Attributes:
    cfg: the model's structure.
    inputs: sizes of the contracted axes, the last of the input.
    outputs: sizes of the produced axes.
    bias: whether a bias is added.
  """

  cfg: ModelConfig
  inputs: tuple[int, ...]
  outputs: tuple[int, ...]
  bias: bool = False

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    kernel = self.param('kernel', nn.initializers.zeros_init(), (*self.inputs, *self.outputs))
    n_in, n_out = math.prod(self.inputs), math.prod(self.outputs)
    lead = x.shape[: x.ndim - len(self.inputs)]
    y = contract('ti,io->to', x.reshape(-1, n_in), kernel.reshape(n_in, n_out), self.cfg.dtype)
    y = y.reshape(*lead, *self.outputs)
    if self.bias:
      y = y + jnp.broadcast_to(self.param('bias', nn.initializers.zeros_init(), self.outputs), y.shape)
    return y


def parameter_count(inputs: int, outputs: int, bias: bool) -> int:
  """Parameters of a projection."""
  return inputs * outputs + bias * outputs


def matmul_flops(inputs: int, outputs: int) -> int:
  """Forward FLOPs of a projection for one token; a multiply-add is two, biases are not counted."""
  return 2 * inputs * outputs
