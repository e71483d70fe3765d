"""Logits of small checkpoints of every family in three precisions, beside transformers.

    python bench/stored_precisions.py [FAMILY ...]

Each family has three configurations with unusual fields (tests/hub/small_checkpoints.py). Each is
saved in float32, bfloat16 and float16, loaded by both with float32 arithmetic, and compared. The
tolerance is 2e-5 * max(1, largest logit). Files of two bytes are also computed in bfloat16 by
both, and the mean distances from float32 are compared. Needs torch and transformers.
"""

from __future__ import annotations

from pathlib import Path
import sys
import tempfile

TESTS = Path(__file__).parent.parent / 'tests'
sys.path[:0] = [str(TESTS), str(TESTS / 'hub')]

from counts_oracle import language_model  # noqa: E402
import jax  # noqa: E402
import numpy as np  # noqa: E402
from small_checkpoints import CONFIGS  # noqa: E402
import torch  # noqa: E402
from transformers_models import inputs_of, random_model  # noqa: E402

from lmhp.hub.pretrained import load_pretrained  # noqa: E402

# Eager attention of transformers adds the ALiBi bias of Falcon twice.
ATTENTION = {('falcon', 1): 'sdpa'}
STORED = ('float32', 'bfloat16', 'float16')


def lmhp_logits(path: Path, dtype: str, tokens: np.ndarray) -> np.ndarray:
  """Returns the logits of lmhp, computed in a dtype."""
  model, params, _ = load_pretrained(path, dtype=dtype)
  encoder_tokens = tokens[:, ::-1] if model.cfg.is_encoder_decoder else None
  apply = jax.jit(lambda p: model.apply(p, tokens, encoder_tokens_BM=encoder_tokens))
  return np.asarray(apply(params))


def torch_logits(family: str, path: Path, attention: str, dtype: str, tokens):
  """Returns the logits of transformers, computed in a dtype."""
  model = language_model(family).from_pretrained(
    path, dtype=getattr(torch, dtype), attn_implementation=attention
  )
  model.set_experts_implementation('eager')
  with torch.no_grad():
    return model(**inputs_of(model, tokens)).logits.float().numpy()


def main() -> None:
  """Prints a line for each checkpoint, and the number within the tolerance."""
  families = sys.argv[1:] or list(CONFIGS)
  tokens = np.random.default_rng(1).integers(2, 31, (2, 9))
  n_right = 0
  n_all = 0
  for family in families:
    for i, config in enumerate(CONFIGS[family]):
      attention = ATTENTION.get((family, i), 'eager')
      for stored in STORED:
        with tempfile.TemporaryDirectory() as directory:
          path = Path(directory)
          oracle = random_model(family, config, attention)
          oracle.to(getattr(torch, stored)).save_pretrained(path)
          exact = torch_logits(family, path, attention, 'float32', tokens)
          logits = lmhp_logits(path, 'float32', tokens)
          error = np.abs(logits - exact).max() / max(1, np.abs(exact).max())
          line = f'{family} {i} {stored}: {error:.1e}'
          if stored != 'float32':
            native = lmhp_logits(path, 'bfloat16', tokens) - exact
            other = torch_logits(family, path, attention, 'bfloat16', tokens) - exact
            ratio = np.abs(native).mean() / np.abs(other).mean()
            line += f', bfloat16 {ratio:.2f} of the distance of transformers'
        n_all += 1
        n_right += bool(error < 2e-5)
        print(line + ('' if error < 2e-5 else ' OFF'), flush=True)
  print(f'{n_right} of {n_all} within 2e-5 * max(1, largest logit)')


if __name__ == '__main__':
  main()
