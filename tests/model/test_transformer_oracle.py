"""Logits and gradients against models of Hugging Face transformers with random weights.

A family has its config in both libraries, and a mapping from our paths to the names and the
layouts of its tensors. The mapping only moves numbers, so it also maps the gradients.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lmhp.model.config import ModelConfig
from lmhp.model.transformer import build

pytestmark = pytest.mark.oracle

V, D, N, H, G, K, F, L = 31, 24, 3, 4, 2, 6, 20, 9
SIZES = {
  'vocab_size': V,
  'd_model': D,
  'n_layers': N,
  'n_heads': H,
  'max_seq_len': 16,
  'dtype': 'float32',
}
BIASES = {
  'norm_bias': True,
  'qkv_bias': True,
  'attention_output_bias': True,
  'feed_forward_bias': True,
}
LLAMA = {
  'norm': 'rmsnorm',
  'gated': True,
  'activation': 'silu',
  'tie_embeddings': False,
  'n_kv_heads': G,
  'head_dim': K,
  'd_ff': F,
  'norm_eps': 1e-6,
}


# --- mappings {our path: (name in transformers, layout)} ----------------------------
#
# In the names of the tensors of a layer, {i} stands for its number.


def same(x):
  return x


def transposed(x):
  return x.T


def into_heads(size):
  """(H K, D) -> (D, H, K), or a bias (H K,) -> (H, K)."""
  return lambda x: (
    x.reshape(-1, size) if x.ndim == 1 else x.T.reshape(x.shape[1], -1, size)
  )


def from_heads(size):
  """(D, H K) -> (H, K, D)."""
  return lambda x: x.T.reshape(-1, size, x.shape[0])


def fused_by_head(part):
  """Query, key or value from (H 3 K, D), in which each head has all three (GPT-NeoX, BLOOM)."""
  return lambda x: into_heads(K)(
    x.reshape(H, 3, K, *x.shape[1:])[:, part].reshape(H * K, *x.shape[1:])
  )


def fused_columns(part):
  """Query, key or value from (D, 3 H K), the transposed matrix of GPT-2. Each is a third."""
  return lambda x: np.split(x, 3, axis=-1)[part].reshape(*x.shape[:-1], H, K)


def linear(ours, theirs, layout=transposed, bias=False):
  mapping = {f'{ours}/kernel': (f'{theirs}.weight', layout)}
  if bias:
    bias_layout = same if layout is transposed else layout
    mapping[f'{ours}/bias'] = (f'{theirs}.bias', bias_layout)
  return mapping


def norm(ours, theirs, bias=False):
  mapping = {f'{ours}/scale': (f'{theirs}.weight', same)}
  if bias:
    mapping[f'{ours}/bias'] = (f'{theirs}.bias', same)
  return mapping


def norms(pairs, bias=False):
  mapping = {}
  for ours, theirs in pairs.items():
    mapping |= norm(ours, theirs, bias)
  return mapping


def llama_layer(qkv_bias=False, **block_norms):
  """Names of Llama, which many families share."""
  pre = 'model.layers.{i}.'
  out = {}
  for name, short in (('query', 'q'), ('key', 'k'), ('value', 'v')):
    out |= linear(
      f'attention/{name}', f'{pre}self_attn.{short}_proj', into_heads(K), bias=qkv_bias
    )
  out |= linear('attention/output', f'{pre}self_attn.o_proj', from_heads(K))
  for name in ('gate', 'up', 'down'):
    out |= linear(f'feed_forward/{name}', f'{pre}mlp.{name}_proj')
  block_norms = block_norms or {
    'attention_input_norm': 'input_layernorm',
    'feed_forward_input_norm': 'post_attention_layernorm',
  }
  return out | norms({ours: pre + theirs for ours, theirs in block_norms.items()})


QK_NORMS = {
  'attention/query_norm': 'model.layers.{i}.self_attn.q_norm',
  'attention/key_norm': 'model.layers.{i}.self_attn.k_norm',
}


def llama_top(tied=False):
  top = {'embedding/table': ('model.embed_tokens.weight', same)} | norm(
    'final_norm', 'model.norm'
  )
  return top if tied else top | {'output/kernel': ('lm_head.weight', transposed)}


def gpt2_layer():
  pre = 'transformer.h.{i}.'
  out = {}
  for part, name in enumerate(('query', 'key', 'value')):
    out |= linear(
      f'attention/{name}', f'{pre}attn.c_attn', fused_columns(part), bias=True
    )
  out |= {
    'attention/output/kernel': (
      f'{pre}attn.c_proj.weight',
      lambda x: x.reshape(H, K, D),
    ),
    'attention/output/bias': (f'{pre}attn.c_proj.bias', same),
  }
  out |= linear('feed_forward/up', f'{pre}mlp.c_fc', same, bias=True)
  out |= linear('feed_forward/down', f'{pre}mlp.c_proj', same, bias=True)
  return out | norms(
    {'attention_input_norm': f'{pre}ln_1', 'feed_forward_input_norm': f'{pre}ln_2'},
    bias=True,
  )


def gpt1_layer():
  """Names of GPT-2. The normalizations follow the parts."""
  renamed = {
    'attention_input_norm': 'attention_residual_norm',
    'feed_forward_input_norm': 'feed_forward_residual_norm',
  }
  mapping = {}
  for path, tensor in gpt2_layer().items():
    module, _, rest = path.partition('/')
    mapping[f'{renamed.get(module, module)}/{rest}'] = tensor
  return mapping


def gpt_neox_layer():
  pre = 'gpt_neox.layers.{i}.'
  out = {}
  for part, name in enumerate(('query', 'key', 'value')):
    out |= linear(
      f'attention/{name}',
      f'{pre}attention.query_key_value',
      fused_by_head(part),
      bias=True,
    )
  out |= linear('attention/output', f'{pre}attention.dense', from_heads(K))
  out |= {'attention/output/bias': (f'{pre}attention.dense.bias', same)}
  out |= linear('feed_forward/up', f'{pre}mlp.dense_h_to_4h', bias=True)
  out |= linear('feed_forward/down', f'{pre}mlp.dense_4h_to_h', bias=True)
  return out | norms(
    {
      'attention_input_norm': f'{pre}input_layernorm',
      'feed_forward_input_norm': f'{pre}post_attention_layernorm',
    },
    bias=True,
  )


def bloom_layer():
  pre = 'transformer.h.{i}.'
  out = {}
  for part, name in enumerate(('query', 'key', 'value')):
    out |= linear(
      f'attention/{name}',
      f'{pre}self_attention.query_key_value',
      fused_by_head(part),
      bias=True,
    )
  out |= linear('attention/output', f'{pre}self_attention.dense', from_heads(K))
  out |= {'attention/output/bias': (f'{pre}self_attention.dense.bias', same)}
  out |= linear('feed_forward/up', f'{pre}mlp.dense_h_to_4h', bias=True)
  out |= linear('feed_forward/down', f'{pre}mlp.dense_4h_to_h', bias=True)
  return out | norms(
    {
      'attention_input_norm': f'{pre}input_layernorm',
      'feed_forward_input_norm': f'{pre}post_attention_layernorm',
    },
    bias=True,
  )


def opt_layer(pre):
  out = {}
  for name, short in (('query', 'q'), ('key', 'k'), ('value', 'v')):
    out |= linear(
      f'attention/{name}', f'{pre}self_attn.{short}_proj', into_heads(K), bias=True
    )
  out |= linear('attention/output', f'{pre}self_attn.out_proj', from_heads(K))
  out |= {'attention/output/bias': (f'{pre}self_attn.out_proj.bias', same)}
  out |= linear('feed_forward/up', f'{pre}fc1', bias=True) | linear(
    'feed_forward/down', f'{pre}fc2', bias=True
  )
  return out | norms(
    {
      'attention_input_norm': f'{pre}self_attn_layer_norm',
      'feed_forward_input_norm': f'{pre}final_layer_norm',
    },
    bias=True,
  )


def gptj_layer():
  pre = 'transformer.h.{i}.'
  out = {}
  for name, short in (('query', 'q'), ('key', 'k'), ('value', 'v')):
    out |= linear(f'attention/{name}', f'{pre}attn.{short}_proj', into_heads(K))
  out |= linear('attention/output', f'{pre}attn.out_proj', from_heads(K))
  out |= linear('feed_forward/up', f'{pre}mlp.fc_in', bias=True)
  out |= linear('feed_forward/down', f'{pre}mlp.fc_out', bias=True)
  return out | norm('attention_input_norm', f'{pre}ln_1', bias=True)


GEMMA_NORMS = {
  'attention_input_norm': 'input_layernorm',
  'attention_output_norm': 'post_attention_layernorm',
  'feed_forward_input_norm': 'pre_feedforward_layernorm',
  'feed_forward_output_norm': 'post_feedforward_layernorm',
}
GEMMA = dict(
  LLAMA,
  activation='gelu_tanh',
  norm_unit_offset=True,
  tie_embeddings=True,
  norm_placement='sandwich',
  embedding_scale=D**0.5,
  attention_scale=10**-0.5,
)
LIKE_LLAMA = {
  'vocab_size': V,
  'hidden_size': D,
  'intermediate_size': F,
  'num_hidden_layers': N,
  'num_attention_heads': H,
  'num_key_value_heads': G,
  'head_dim': K,
  'max_position_embeddings': 16,
  'tie_word_embeddings': False,
  'pad_token_id': 0,
  'bos_token_id': 0,
  'eos_token_id': 0,
  'rms_norm_eps': 1e-6,
}
LIKE_GPT = {
  'vocab_size': V,
  'n_embd': D,
  'n_layer': N,
  'n_head': H,
  'n_positions': 16,
  'bos_token_id': 0,
  'eos_token_id': 0,
}
LLAMA3_ROPE = {
  'rope_type': 'llama3',
  'rope_theta': 500.0,
  'factor': 4.0,
  'low_freq_factor': 1.0,
  'high_freq_factor': 4.0,
  'original_max_position_embeddings': 8,
}
# In reverse order it would be another pattern.
LAYER_TYPES = ['sliding_attention', 'full_attention', 'full_attention']

# {model type: config of transformers, our config, tensors of a layer, other tensors}
FAMILIES = {
  'gpt2': (
    LIKE_GPT | {'n_inner': F},
    dict(BIASES, position='learned', activation='gelu_tanh', d_ff=F),
    gpt2_layer(),
    {
      'embedding/table': ('transformer.wte.weight', same),
      'positional/table': ('transformer.wpe.weight', same),
    }
    | norm('final_norm', 'transformer.ln_f', bias=True),
  ),
  'openai-gpt': (
    LIKE_GPT | {'afn': 'gelu'},
    dict(BIASES, position='learned', activation='gelu_tanh', norm_placement='post'),
    gpt1_layer(),
    {
      'embedding/table': ('transformer.tokens_embed.weight', same),
      'positional/table': ('transformer.positions_embed.weight', same),
    },
  ),
  'llama': (
    LIKE_LLAMA | {'rope_parameters': LLAMA3_ROPE},
    LLAMA
    | {
      'rotary_base': 500.0,
      'rotary_scaling': 'llama3',
      'rotary_scaling_factor': 4.0,
      'rotary_original_max_seq_len': 8,
    },
    llama_layer(),
    llama_top(),
  ),
  'gemma2': (
    LIKE_LLAMA
    | {
      'query_pre_attn_scalar': 10,
      'sliding_window': 3,
      'attn_logit_softcapping': 2.0,
      'final_logit_softcapping': 3.0,
      'layer_types': LAYER_TYPES,
      'tie_word_embeddings': True,
    },
    GEMMA
    | {
      'attention_logit_cap': 2.0,
      'logit_cap': 3.0,
      'attention_pattern': ('local', 'global', 'global'),
      'sliding_window': 3,
    },
    llama_layer(**GEMMA_NORMS),
    llama_top(tied=True),
  ),
  'gemma3_text': (
    LIKE_LLAMA
    | {
      'query_pre_attn_scalar': 10,
      'sliding_window': 3,
      'layer_types': LAYER_TYPES,
      'tie_word_embeddings': True,
      'rope_parameters': {
        'full_attention': {'rope_type': 'default', 'rope_theta': 300.0},
        'sliding_attention': {'rope_type': 'default', 'rope_theta': 50.0},
      },
    },
    GEMMA
    | {
      'qk_norm': 'head',
      'attention_pattern': ('local', 'global', 'global'),
      'sliding_window': 3,
      'rotary_base': 300.0,
      'rotary_base_local': 50.0,
    },
    llama_layer(**GEMMA_NORMS) | norms(QK_NORMS),
    llama_top(tied=True),
  ),
  'gpt_neox': (
    {
      'vocab_size': V,
      'hidden_size': D,
      'num_hidden_layers': N,
      'num_attention_heads': H,
      'intermediate_size': F,
      'max_position_embeddings': 16,
      'rotary_pct': 0.34,
      'hidden_act': 'gelu',
      'bos_token_id': 0,
      'eos_token_id': 0,
    },
    dict(
      BIASES, d_ff=F, parallel_residual=True, rotary_fraction=0.34, tie_embeddings=False
    ),
    gpt_neox_layer(),
    {
      'embedding/table': ('gpt_neox.embed_in.weight', same),
      'output/kernel': ('lm_head.weight', transposed),
    }
    | norm('final_norm', 'gpt_neox.final_layer_norm', bias=True),
  ),
  'qwen2': (
    LIKE_LLAMA
    | {'use_sliding_window': True, 'sliding_window': 4, 'max_window_layers': 0},
    LLAMA | {'qkv_bias': True, 'attention_pattern': ('local',), 'sliding_window': 4},
    llama_layer(qkv_bias=True),
    llama_top(),
  ),
  'qwen3': (
    LIKE_LLAMA,
    LLAMA | {'qk_norm': 'head'},
    llama_layer() | norms(QK_NORMS),
    llama_top(),
  ),
  'olmo2': (
    LIKE_LLAMA,
    LLAMA | {'norm_placement': 'output', 'qk_norm': 'full'},
    llama_layer(
      attention_output_norm='post_attention_layernorm',
      feed_forward_output_norm='post_feedforward_layernorm',
    )
    | norms(QK_NORMS),
    llama_top(),
  ),
  'olmo': (
    LIKE_LLAMA | {'clip_qkv': 0.3},
    LLAMA
    | {'norm': 'layernorm', 'norm_affine': False, 'norm_eps': 1e-5, 'clip_qkv': 0.3},
    {path: tensor for path, tensor in llama_layer().items() if 'norm' not in path},
    {path: tensor for path, tensor in llama_top().items() if 'norm' not in path},
  ),
  'cohere': (
    LIKE_LLAMA
    | {
      'layer_norm_eps': 1e-6,
      'logit_scale': 0.3,
      'tie_word_embeddings': True,
      'rope_parameters': {'rope_type': 'default', 'rope_theta': 1e4},
    },
    LLAMA
    | {
      'norm': 'layernorm',
      'parallel_residual': True,
      'shared_norm': True,
      'rotary_interleaved': True,
      'logit_scale': 0.3,
      'tie_embeddings': True,
    },
    llama_layer(attention_input_norm='input_layernorm'),
    llama_top(tied=True),
  ),
  'smollm3': (
    LIKE_LLAMA
    | {
      'no_rope_layer_interval': 2,
      'no_rope_layers': [1, 0, 1],
      'use_sliding_window': False,
      'rope_parameters': {'rope_type': 'default', 'rope_theta': 1e4},
    },
    LLAMA | {'no_position_every': 2},
    llama_layer(),
    llama_top(),
  ),
  'granite': (
    LIKE_LLAMA
    | {
      'embedding_multiplier': 3.0,
      'residual_multiplier': 0.4,
      'attention_multiplier': 0.2,
      'logits_scaling': 2.0,
    },
    LLAMA
    | {
      'embedding_scale': 3.0,
      'residual_scale': 0.4,
      'attention_scale': 0.2,
      'logit_scale': 0.5,
    },
    llama_layer(),
    llama_top(),
  ),
  'bloom': (
    {
      'vocab_size': V,
      'hidden_size': D,
      'n_layer': N,
      'n_head': H,
      'bos_token_id': 0,
      'eos_token_id': 0,
    },
    dict(BIASES, position='alibi', activation='gelu_tanh', embedding_norm=True),
    bloom_layer(),
    {'embedding/table': ('transformer.word_embeddings.weight', same)}
    | norms(
      {
        'embedding_norm': 'transformer.word_embeddings_layernorm',
        'final_norm': 'transformer.ln_f',
      },
      bias=True,
    ),
  ),
  'opt': (
    {
      'vocab_size': V,
      'hidden_size': D,
      'num_hidden_layers': N,
      'num_attention_heads': H,
      'ffn_dim': F,
      'max_position_embeddings': 16,
      'word_embed_proj_dim': D,
      'pad_token_id': 0,
      'bos_token_id': 0,
      'eos_token_id': 0,
    },
    dict(BIASES, position='learned', position_offset=2, activation='relu', d_ff=F),
    opt_layer('model.decoder.layers.{i}.'),
    {
      'embedding/table': ('model.decoder.embed_tokens.weight', same),
      'positional/table': ('model.decoder.embed_positions.weight', same),
    }
    | norm('final_norm', 'model.decoder.final_layer_norm', bias=True),
  ),
  'xglm': (
    {
      'vocab_size': V,
      'd_model': D,
      'num_layers': N,
      'attention_heads': H,
      'ffn_dim': F,
      'max_position_embeddings': 16,
      'pad_token_id': 1,
      'bos_token_id': 0,
      'eos_token_id': 0,
    },
    dict(
      BIASES, position='sinusoidal', position_offset=2, d_ff=F, embedding_scale=D**0.5
    ),
    opt_layer('model.layers.{i}.'),
    {'embedding/table': ('model.embed_tokens.weight', same)}
    | norm('final_norm', 'model.layer_norm', bias=True),
  ),
  'gptj': (
    LIKE_GPT | {'n_inner': F, 'rotary_dim': 4},
    {
      'activation': 'gelu_tanh',
      'd_ff': F,
      'norm_bias': True,
      'feed_forward_bias': True,
      'head_bias': True,
      'parallel_residual': True,
      'shared_norm': True,
      'rotary_fraction': 0.7,
      'rotary_interleaved': True,
      'tie_embeddings': False,
    },
    gptj_layer(),
    {
      'embedding/table': ('transformer.wte.weight', same),
      'output/kernel': ('lm_head.weight', transposed),
      'output/bias': ('lm_head.bias', same),
    }
    | norm('final_norm', 'transformer.ln_f', bias=True),
  ),
}


def tree(layer, top, tensors):
  """Our nested dict from numpy arrays by their names in transformers."""
  leaves = {path: layout(tensors[name]) for path, (name, layout) in top.items()}
  for path, (name, layout) in layer.items():
    leaves[f'decoder/segment_0/{path}'] = np.stack(
      [layout(tensors[name.format(i=i)]) for i in range(N)]
    )
  out = {}
  for path, leaf in leaves.items():
    *parents, last = path.split('/')
    node = out
    for name in parents:
      node = node.setdefault(name, {})
    node[last] = jnp.asarray(leaf)
  return out


def run_transformers(model_type, entries, tokens):
  """Returns logits, loss, and the tensors and their gradients by name."""
  import torch
  import transformers

  config = transformers.AutoConfig.for_model(model_type, **entries)
  model = transformers.AutoModelForCausalLM.from_config(
    config, attn_implementation='eager', dtype=torch.float32
  ).eval()
  generator = torch.Generator().manual_seed(0)
  with torch.no_grad():
    for parameter in model.parameters():
      # Scales of normalizations start at one.
      gain = 1.0 if parameter.ndim == 1 and parameter.mean() > 0.5 else 0.0
      parameter.copy_(gain + 0.2 * torch.randn(parameter.shape, generator=generator))
  logits = model(input_ids=torch.as_tensor(tokens), use_cache=False).logits
  loss = torch.nn.functional.cross_entropy(
    logits[:, :-1].reshape(-1, V), torch.as_tensor(tokens[:, 1:]).reshape(-1)
  )
  loss.backward()
  named = dict(model.named_parameters(remove_duplicate=False))
  return (
    logits.detach().numpy(),
    float(loss.detach()),
    {name: p.detach().numpy() for name, p in named.items()},
    {name: p.grad.numpy() for name, p in named.items() if p.grad is not None},
  )


@pytest.mark.parametrize('family', FAMILIES)
def test_logits_and_gradients(jit, family):
  """Logits are within 2e-5, and gradients within 2e-5 of the largest."""
  entries, fields, layer, top = FAMILIES[family]
  # Some families use 0 or 1 for padding, which has no gradient.
  tokens = np.random.default_rng(1).integers(2, V, (2, L))
  logits, loss, tensors, gradients = run_transformers(family, entries, tokens)
  model = build(ModelConfig(**SIZES | fields))

  @jit
  def ours(params):
    def cross_entropy(params):
      logits = model.apply(params, jnp.asarray(tokens, jnp.int32))
      log_p = jax.nn.log_softmax(logits[:, :-1])
      return -jnp.mean(
        jnp.take_along_axis(log_p, jnp.asarray(tokens[:, 1:, None], jnp.int32), axis=-1)
      ), logits

    return jax.value_and_grad(cross_entropy, has_aux=True)(params)

  params = tree(layer, top, tensors)
  assert jax.tree.map(jnp.shape, params) == jax.tree.map(
    lambda s: s.shape, model.shapes
  )
  (our_loss, our_logits), our_gradients = ours(params)
  np.testing.assert_allclose(our_logits, logits, rtol=0, atol=2e-5)
  np.testing.assert_allclose(our_loss, loss, rtol=0, atol=2e-5)
  expected = tree(layer, top, gradients)
  largest = max(float(jnp.max(jnp.abs(g))) for g in jax.tree.leaves(expected))

  def assert_close(actual, desired):
    tolerance = 2e-5 * max(largest, 1.0)
    np.testing.assert_allclose(actual, desired, rtol=0, atol=tolerance)

  jax.tree.map(assert_close, our_gradients, expected)
