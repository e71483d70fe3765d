"""Parameters and FLOPs of linear maps and normalizations. This file imports no jax."""

from __future__ import annotations

from lmhp.model.config import ModelConfig


def parameter_count(inputs: int, outputs: int, bias: bool) -> int:
  """Returns the number of parameters of a linear map.

  Args:
    inputs: Size of the input.
    outputs: Size of the output.
    bias: True if the map has a bias.
  """
  return inputs * outputs + bias * outputs


def matmul_flops(inputs: int, outputs: int) -> int:
  """Returns the forward FLOPs of a linear map for one token.

  A multiply-add is two FLOPs. A bias is not counted.

  Args:
    inputs: Size of the input.
    outputs: Size of the output.
  """
  return 2 * inputs * outputs


def norm_size(cfg: ModelConfig, width: int, bias: bool = True) -> int:
  """Returns the number of parameters of one normalization.

  Args:
    cfg: Config of the model.
    width: Size of the normalized axis.
    bias: If False, the normalization has no bias, even if the config has it.
  """
  return width * (cfg.norm_affine + (cfg.norm_bias and bias))
