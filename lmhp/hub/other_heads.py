"""Heads that a checkpoint has in place of a vocabulary head, such as that of a classifier.

The key `architectures` of a config.json is the name of a class of Hugging Face transformers. Its
end tells the head: `LlamaForCausalLM`, `LlamaModel`, `LlamaForSequenceClassification`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
import dataclasses
import re

from lmhp.errors import ConfigError
from lmhp.model.config import ModelConfig
from lmhp.model.counts import norm_size, parameter_count
from lmhp.typing import JSON

_VOCABULARY_HEADS = (
  'CausalLM',
  'LMHead',
  'MaskedLM',
  'ConditionalGeneration',
  'PreTraining',
  'DoubleHeads',
)
"""Words in the names of classes with a vocabulary head."""

_POOLED_TYPES = ('bert', 'roberta', 'albert')
"""Model types whose class without a head has a pooler: a linear map with a bias."""

_N_ANSWER_BOUNDS = 2
"""Logits for each token in a head for answers to questions: begin and end."""


@dataclasses.dataclass(frozen=True)
class HeadSize:
  """Sizes on which the head of a classifier depends.

  Attributes:
    cfg: The model.
    model_type: Name of the family.
    n_labels: Number of classes.
  """

  cfg: ModelConfig
  model_type: str
  n_labels: int

  def pooler(self) -> Counter[str]:
    """Parameters of the pooler. Empty if the family has none."""
    width = self.cfg.d_model
    is_pooled = self.model_type in _POOLED_TYPES
    return Counter(output=parameter_count(width, width, True) if is_pooled else 0)

  def classifier(self, n_labels: int, bias: bool = True) -> Counter[str]:
    """Parameters of a linear map from the model to labels."""
    # OPT-350M narrows its features to the width of the embedding.
    width = self.cfg.d_model if self.cfg.head_transform else self.cfg.embedding_dim
    return Counter(output=parameter_count(width, n_labels, bias))

  def transform(self) -> Counter[str]:
    """Parameters of the linear map and normalization that ModernBERT has before its labels."""
    if self.model_type != 'modernbert':
      return Counter()
    cfg = self.cfg
    dense = parameter_count(cfg.d_model, cfg.d_model, cfg.head_transform_bias)
    return Counter(output=dense, normalization=norm_size(cfg, cfg.d_model))


def _no_head(size: HeadSize) -> Counter[str]:
  return size.pooler()


def _sequence_labels(size: HeadSize) -> Counter[str]:
  if size.model_type == 'roberta':
    # A linear map of the first token takes the place of the pooler.
    return size.pooler() + size.classifier(size.n_labels)
  # The classes of decoders have no bias, unlike those of encoders.
  is_encoder = not size.cfg.is_causal
  head = size.pooler() + size.transform()
  return head + size.classifier(size.n_labels, bias=is_encoder)


def _token_labels(size: HeadSize) -> Counter[str]:
  return size.transform() + size.classifier(size.n_labels)


def _answers(size: HeadSize) -> Counter[str]:
  # The classes of encoders have as many logits as labels, 2 by default.
  n_logits = _N_ANSWER_BOUNDS if size.cfg.is_causal else size.n_labels
  return size.transform() + size.classifier(n_logits)


def _choices(size: HeadSize) -> Counter[str]:
  return size.pooler() + size.transform() + size.classifier(1)


def _next_sentence(size: HeadSize) -> Counter[str]:
  return size.pooler() + size.classifier(2)


OTHER_HEADS: Mapping[str, Callable[[HeadSize], Counter[str]]] = {
  'ForSequenceClassification': _sequence_labels,
  'ForTokenClassification': _token_labels,
  'ForQuestionAnswering': _answers,
  'ForMultipleChoice': _choices,
  'ForNextSentencePrediction': _next_sentence,
  'Model': _no_head,
}
"""{end of the name of a class: function that returns {kind: parameters} of its head}."""


def other_head(
  config: Mapping[str, JSON], cfg: ModelConfig, source: str
) -> tuple[Counter[str] | None, str | None]:
  """Returns the head of the class that a config.json names, and a note about it.

  Args:
    config: Content of config.json.
    cfg: The model.
    source: Name of the file, for error messages.

  Returns:
    {kind: number of parameters}, and a sentence. Both are None for a vocabulary head. A class
    with an unknown name counts as one with a vocabulary head.

  Raises:
    ConfigError: If the class has only a part of the layers.
  """
  names = config.get('architectures')
  name = names[0] if isinstance(names, list) and names else None
  if not isinstance(name, str) or any(word in name for word in _VOCABULARY_HEADS):
    return None, None
  if cfg.is_encoder_decoder and name.endswith('EncoderModel'):
    raise ConfigError(
      f'{source}: architectures: got {name!r}, expected a class with encoder and decoder'
    )

  labels = config.get('id2label')
  n_labels = config.get('num_labels', len(labels) if isinstance(labels, dict) else 2)
  model_type = str(config.get('model_type'))
  for ending, head_of in OTHER_HEADS.items():
    # A classifier of an encoder-decoder has further maps, which are not known here. A class with
    # another beginning, such as DraftModel, is not one of transformers.
    is_class = name.lower() == re.sub(r'[_-]', '', model_type) + ending.lower()
    is_known = is_class and (ending == 'Model' or not cfg.is_encoder_decoder)
    if is_known and isinstance(n_labels, int):
      size = HeadSize(cfg, model_type, n_labels)
      head = head_of(size)
      return head, (
        f'{name} has no vocabulary head: its own head has {head.total():,} parameters, and '
        'FLOPs are those of the layers'
      )
  return None, f'{name} is no known class: counted with a vocabulary head'
