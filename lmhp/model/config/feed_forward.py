"""Keys of the feed-forward part, of biases, and of the transform before the head."""

from __future__ import annotations

from lmhp.declarations import static
from lmhp.model.config.activation_registry import ACTIVATIONS
from lmhp.model.config.sizes import SizeKeys
from lmhp.sections import assign, keys


@keys
class FeedForwardKeys(SizeKeys):
  """Activation and gate of the feed-forward part."""

  # `converted_aliases` and `value_aliases` are {name or value of other libraries: text}. The
  # text is only shown in the error message for that name or value.
  activation: str = static(
    'gelu',
    'activation of the feed-forward part',
    choices=ACTIVATIONS,
    aliases=('hidden_act', 'activation_function', 'hidden_activation', 'act_fn'),
    converted_aliases={
      'feed_forward_proj': (
        "such as 'relu' for 'relu', and 'gelu_tanh' with model.gated=True for 'gated-gelu'"
      )
    },
    value_aliases={
      'gelu_new': "'gelu_tanh'",
      'gelu_fast': "'gelu_tanh'",
      'gelu_pytorch_tanh': "'gelu_tanh'",
      'gelu_python': "'gelu'",
      'swish': "'silu'",
      'relu2': "'relu_squared'",
      'relu^2': "'relu_squared'",
      'linear': "'identity'",
      'glu': "'sigmoid' with model.gated=True",
      'reglu': "'relu' with model.gated=True",
      'geglu': "'gelu' (or 'gelu_tanh') with model.gated=True",
      'gated-gelu': "'gelu_tanh' with model.gated=True",
      'swiglu': "'silu' with model.gated=True",
      'gated-silu': "'silu' with model.gated=True",
    },
  )
  gated: bool = static(
    False,
    'the feed-forward part is down(act(gate(x)) * up(x)) instead of down(act(up(x)))',
    aliases=('use_glu', 'gated_mlp', 'is_gated_act'),
    source='arXiv:2002.05202',
  )
  gate_clip: float | None = static(
    None,
    'with gated: upper bound of gate(x), and of the absolute value of up(x); None means no '
    'bound; gpt-oss: 7',
    low=0.0,
    open_low=True,
    aliases=('swiglu_limit',),
  )
  gate_offset: float = static(
    0.0, 'with gated: number that is added to up(x) before the product; gpt-oss: 1'
  )


@keys
class BiasKeys(FeedForwardKeys):
  """Biases of linear maps, and the transform before the head."""

  qkv_bias: bool = static(
    False,
    'the projections to queries, keys and values have a bias',
    aliases=('add_qkv_bias', 'use_qkv_bias'),
    converted_aliases={
      'attention_bias': 'together with model.attention_output_bias',
      'bias': (
        'together with model.attention_output_bias, model.feed_forward_bias and '
        'model.norm_bias'
      ),
    },
  )
  attention_output_bias: bool = static(
    False, 'the output projection of attention has a bias'
  )
  feed_forward_bias: bool = static(
    False, 'the linear maps of the feed-forward part have biases', aliases=('mlp_bias',)
  )

  # Head.
  head_bias: bool = static(False, 'the head has a bias', aliases=('lm_head_bias',))
  head_transform: bool = static(
    False,
    "a linear map, an activation and a normalization precede the head, as in BERT's head for "
    'masked tokens',
  )
  head_activation: str = static(
    None,
    'activation of the transform before the head; None is model.activation',
    choices=ACTIVATIONS,
    derived=True,
  )
  head_transform_bias: bool = static(
    True, 'the linear map of the transform before the head has a bias'
  )

  def derive_biases(self) -> None:
    """Fills in `head_activation`."""
    assign(self, head_activation=self.head_activation or self.activation)
