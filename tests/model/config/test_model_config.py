"""The whole section: traced keys, shared layers, the encoder, and names of other libraries."""

import math

import pytest

from lmhp.config_keys import suggest_key
from lmhp.declarations import declared
from lmhp.errors import ConfigError
from lmhp.hypers import TRACED, split
from lmhp.model.config import LayerSpec, ModelConfig

ROUTING = {'load_balance_loss', 'router_z_loss', 'router_correction_rate'}
DROPOUT = {'embedding_dropout', 'attention_dropout', 'residual_dropout'}


def test_traced_keys():
  # Registered parts, such as mixers of other tests, may add keys to the class itself.
  keys = {key for base in ModelConfig.__bases__ for key in declared(base)}
  traced = {key for key in keys if declared(ModelConfig)[key].traced}
  assert traced == DROPOUT | ROUTING | {'init_scale'}


def test_the_split_leaves_out_dropout_that_is_zero():
  structure, numbers = split(ModelConfig(residual_dropout=0.1))
  assert DROPOUT & set(numbers) == {'residual_dropout'}
  assert structure.residual_dropout is TRACED
  assert structure.attention_dropout == 0.0


def test_traced_numbers_are_not_part_of_the_structure():
  one, _ = split(ModelConfig(residual_dropout=0.1))
  other, _ = split(ModelConfig(residual_dropout=0.2, init_scale=math.pi))
  assert hash(one) == hash(other)
  assert one == other


def test_keys_are_in_the_order_of_their_parts():
  keys = list(declared(ModelConfig))
  in_order = [
    'architecture',
    'activation',
    'n_experts',
    'norm',
    'qkv_bias',
    'position',
    'attention_pattern',
    'mixer_pattern',
    'embedding_scale',
    'dtype',
  ]
  assert keys[0] == 'architecture'
  assert sorted(in_order, key=keys.index) == in_order


def test_the_encoder_has_its_own_depth():
  cfg = ModelConfig(architecture='encoder_decoder', n_layers=2, n_encoder_layers=5)
  assert cfg.encoder.architecture == 'encoder'
  assert cfg.encoder.n_layers == 5
  assert cfg.n_layers == 2


@pytest.mark.parametrize(
  'fields',
  [
    {'first_attention_norm': False},
    {'n_experts': 4, 'n_dense_layers': 1},
    {'mixer_pattern': ('attention', 'gru')},
    {
      'architecture': 'encoder_decoder',
      'n_layers': 1,
      'n_encoder_layers': 3,
      'first_attention_norm': False,
    },
  ],
)
def test_layers_with_other_parameters_cannot_be_shared(assert_refused, fields):
  assert_refused('share_layers', share_layers=True, **fields)


def test_alike_layers_can_be_shared():
  assert len(ModelConfig(share_layers=True, n_layers=3).segments) == 1


def test_residual_outputs_start_smaller_with_depth():
  assert ModelConfig(n_layers=8).residual_init_factor == 0.25
  assert ModelConfig(n_layers=8, init='normal').residual_init_factor == 1.0


@pytest.mark.parametrize(
  'key, value',
  [('attention_dropout', 1.0), ('init_scale', -1.0), ('dtype', 'float16')],
)
def test_values_out_of_bounds_are_refused(assert_refused, key, value):
  assert_refused(key, **{key: value})


# --- names of other libraries -------------------------------------------------------


@pytest.mark.parametrize(
  'name, key',
  [
    ('n_embd', 'model.d_model'),
    ('num_hidden_layers', 'model.n_layers'),
    ('num_key_value_heads', 'model.n_kv_heads'),
    ('intermediate_size', 'model.d_ff'),
    ('tie_word_embeddings', 'model.tie_embeddings'),
    ('hidden_act', 'model.activation'),
    ('num_experts_per_tok', 'model.experts_per_token'),
    ('rms_norm_eps', 'model.norm_eps'),
    ('rope_theta', 'model.rotary_base'),
    ('attn_pdrop', 'model.attention_dropout'),
    ('final_logit_softcapping', 'model.logit_cap'),
    ('torch_dtype', 'model.dtype'),
  ],
)
def test_a_name_of_another_library_suggests_the_key(name, key):
  assert suggest_key(f'model.{name}') == f'; did you mean {key!r}?'


@pytest.mark.parametrize(
  'name, key, conversion',
  [
    ('mlp_ratio', 'model.d_ff', 'mlp_ratio * model.d_model'),
    ('norm_first', 'model.norm_placement', "'pre' if True, 'post' if False"),
    ('rotary_dim', 'model.rotary_fraction', 'rotary_dim / model.head_dim'),
    ('logits_scaling', 'model.logit_scale', '1 / logits_scaling'),
    ('initializer_range', 'model.init_scale', 'initializer_range / 0.02'),
  ],
)
def test_a_name_with_another_meaning_suggests_the_conversion(name, key, conversion):
  assert suggest_key(f'model.{name}') == f'; did you mean {key!r} ({conversion})?'


@pytest.mark.parametrize(
  'key, value, here',
  [
    ('activation', 'swiglu', "'silu' with model.gated=True"),
    ('activation', 'gelu_new', "'gelu_tanh'"),
    ('activation', 'ReLU2', "'relu_squared'"),
    ('norm', 'LayerNorm', "'layernorm'"),
    ('norm', 'rms_norm', "'rmsnorm'"),
    ('position', 'rope', "'rotary'"),
    ('norm_placement', 'pre-ln', "'pre'"),
    ('architecture', 'seq2seq', "'encoder_decoder'"),
    ('rotary_scaling', 'default', "'none'"),
    ('dtype', 'bf16', "'bfloat16'"),
  ],
)
def test_a_value_of_another_library_is_translated(key, value, here):
  with pytest.raises(ConfigError) as error:
    ModelConfig(**{key: value})
  assert str(error.value).endswith(f'; {value!r} is {here} here')


def test_translated_values_are_no_values_of_the_key():
  for key, declaration in declared(ModelConfig).items():
    choices = {str(choice) for choice in declaration.choices or ()}
    for word in declaration.value_aliases:
      assert word == word.lower(), key
      # A word in the spelling of a choice is there for other cases, such as LayerNorm.
      assert word not in choices or declaration.value_aliases[word] == repr(word), key


# --- properties of each layer -------------------------------------------------------


def test_the_pattern_of_mixers_is_repeated():
  cfg = ModelConfig(n_layers=5, mixer_pattern=('gru', 'attention'))
  assert cfg.mixers == ('gru', 'attention', 'gru', 'attention', 'gru')
  assert cfg.has_other_mixers
  assert not ModelConfig().has_other_mixers


def test_alike_layers_are_one_segment():
  cfg = ModelConfig(n_layers=4, attention_pattern=('local', 'global'), sliding_window=2)
  assert cfg.layer_specs == (LayerSpec(True, False, 'attention'),) * 4
  assert cfg.segments == ((0, 4),)


def test_a_first_layer_without_a_normalization_is_a_segment():
  cfg = ModelConfig(n_layers=4, first_attention_norm=False)
  assert cfg.segments == ((0, 1), (1, 3))


def test_layers_with_other_mixers_or_experts_are_segments():
  cfg = ModelConfig(
    n_layers=5,
    mixer_pattern=('gru', 'gru', 'attention', 'attention', 'attention'),
    n_experts=4,
    n_dense_layers=4,
  )
  assert cfg.segments == ((0, 2), (2, 2), (4, 1))
  assert cfg.layer_specs[-1] == LayerSpec(True, True, 'attention')


def test_an_empty_pattern_of_mixers_is_refused(assert_refused):
  assert_refused('mixer_pattern', mixer_pattern=())


def test_an_unknown_mixer_is_refused(assert_refused):
  assert_refused('mixer_pattern', mixer_pattern=('lstmm',))
