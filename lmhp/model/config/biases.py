"""Keys of biases, and of the transform before the head."""

from __future__ import annotations

from lmhp.declarations import static
from lmhp.model.config.activation_registry import ACTIVATIONS
from lmhp.model.config.feed_forward import FeedForwardKeys
from lmhp.sections import assign, keys


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
