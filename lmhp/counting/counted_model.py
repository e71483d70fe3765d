"""A model to count: its config, and the head that it has in place of a vocabulary head."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
import dataclasses

from lmhp.counting.flops import Flops, flops_per_token
from lmhp.counting.parameters import Count, count
from lmhp.model import output
from lmhp.model.config import ModelConfig


@dataclasses.dataclass(frozen=True)
class CountedModel:
  """A model to count.

  Attributes:
    name: Name of the model.
    cfg: Config of the model. `vocab_size` is set.
    other_head: {kind of `lmhp.params.KINDS`: number of parameters} of the head that the model
      has in place of the vocabulary head, such as that of a classifier. None if the model has
      the vocabulary head that `cfg` describes.
    notes: Sentences about what the counts include or leave out.
  """

  name: str
  cfg: ModelConfig
  other_head: Mapping[str, int] | None = None
  notes: tuple[str, ...] = ()

  def parameters(self) -> Count:
    """Counts the parameters, without allocating any.

    >>> cfg = ModelConfig(vocab_size=65, d_model=128, tie_embeddings=False)
    >>> model = CountedModel('classifier', cfg, other_head={'output': 256})
    >>> model.parameters().by_kind['output']
    256
    """
    counts = count(self.cfg)
    if self.other_head is None:
      return counts
    # The head of a bidirectional encoder has a normalization, so several kinds may change.
    by_kind = Counter(counts.by_kind)
    by_kind.subtract(output.parameter_counts(self.cfg))
    by_kind.update(self.other_head)
    return Count({kind: by_kind[kind] for kind in counts.by_kind}, counts.inactive)

  def flops(self, seq_len: int, causal: bool) -> Flops:
    """Returns the FLOPs per token (see `flops_per_token`), without those of another head.

    A head that classifies a sequence has one product per sequence, which is not counted.

    Args:
      seq_len: Number of tokens in the sequence.
      causal: True to count only the pairs of tokens that the attention mask keeps.
    """
    flops = flops_per_token(self.cfg, seq_len, causal)
    if self.other_head is None:
      return flops
    by_kind = Counter(flops.by_kind)
    by_kind.subtract(output.weight_flops(self.cfg))
    return Flops(
      forward=sum(by_kind.values()) + flops.attention_pairs,
      by_kind=by_kind,
      attention_pairs=flops.attention_pairs,
    )
