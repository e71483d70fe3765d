"""Properties of each layer: mixers, parameters, and segments of alike layers."""

from lmhp.model.config import LayerSpec, ModelConfig


def test_the_pattern_of_mixers_is_repeated():
  cfg = ModelConfig(n_layers=5, mixer_pattern=('gru', 'attention'))
  assert cfg.mixers == ('gru', 'attention', 'gru', 'attention', 'gru')
  assert cfg.has_other_mixers
  assert not ModelConfig().has_other_mixers


def test_alike_layers_are_one_segment():
  cfg = ModelConfig(n_layers=4, attention_pattern=('local', 'global'), sliding_window=2)
  assert cfg.layer_specs == (LayerSpec(True, False, 'attention'),) * 4
  assert cfg.segments == ((0, 4),)
  assert cfg.is_uniform


def test_a_first_layer_without_a_normalization_is_a_segment():
  cfg = ModelConfig(n_layers=4, first_attention_norm=False)
  assert cfg.segments == ((0, 1), (1, 3))
  assert not cfg.is_uniform


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
