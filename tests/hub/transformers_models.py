"""Models of transformers with random weights, as oracles."""

import tempfile

from counts_oracle import language_model
import numpy as np

CORRECTION = 'e_score_correction_bias'
"""Last name of the buffer that balances the experts of DeepSeek V3."""


def random_model(model_type, config, attention='eager'):
  """Returns a model of transformers whose parameters are all far from neutral values.

  Args:
    model_type: Name of the family.
    config: Keys of its config.json.
    attention: Implementation of the attention.
  """
  import torch
  import transformers

  transformers.logging.set_verbosity_error()
  full_config = transformers.AutoConfig.for_model(model_type, **config)
  model = language_model(model_type).from_config(
    full_config, attn_implementation=attention, dtype=torch.float32
  )
  model.eval()
  # The default implementation of experts needs sizes that are divisible by 4.
  model.set_experts_implementation('eager')

  generator = torch.Generator().manual_seed(0)
  with torch.no_grad():
    for parameter in model.parameters():
      # Scales of normalizations start at one.
      is_scale = parameter.ndim == 1 and parameter.mean() > 0.5
      noise = torch.randn(parameter.shape, generator=generator)
      parameter.copy_(float(is_scale) + 0.2 * noise)
  for name, buffer in model.named_buffers():
    if name.endswith(CORRECTION):
      buffer.copy_(0.1 * torch.randn(buffer.shape, generator=generator))

  # transformers 5 ties the head of T5 v1.1, although its head is separate.
  if model_type == 't5' and not config.get('tie_word_embeddings', True):
    noise = torch.randn(model.lm_head.weight.shape, generator=generator)
    model.lm_head.weight = torch.nn.Parameter(0.2 * noise)
  return model


def inputs_of(model, tokens):
  """Returns the arguments of a model. An encoder receives the tokens in reverse order."""
  import torch

  tokens = torch.as_tensor(np.ascontiguousarray(tokens))
  if model.config.is_encoder_decoder:
    return {'input_ids': tokens.flip(-1), 'decoder_input_ids': tokens}
  return {'input_ids': tokens}


def loss_and_gradients(model, tokens):
  """Returns the logits, the mean loss per token, and {name of a tensor: gradient}."""
  import torch

  logits = model(**inputs_of(model, tokens)).logits
  targets = torch.as_tensor(tokens)[:, 1:].flatten()
  loss = torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), targets)
  loss.backward()
  gradients = {}
  for name, parameter in model.named_parameters():
    if parameter.grad is not None:
      gradients[name] = parameter.grad.numpy()
  if any('experts.' in name for name in gradients):
    gradients = _name_as_saved(model, gradients)
  return logits.detach().numpy(), float(loss.detach()), gradients


def _name_as_saved(model, gradients):
  """Returns gradients under the names that a saved checkpoint has.

  transformers 5 has one tensor for all experts, its checkpoints have one per expert. So the
  gradients are saved in place of the parameters.
  """
  from safetensors.numpy import load_file
  import torch

  values = {name: p.detach().clone() for name, p in model.named_parameters()}
  with tempfile.TemporaryDirectory() as directory, torch.no_grad():
    for name, parameter in model.named_parameters():
      if name in gradients:
        parameter.copy_(torch.as_tensor(gradients[name]))
      else:
        parameter.zero_()
    model.save_pretrained(directory)
    saved = load_file(f'{directory}/model.safetensors')
    for name, parameter in model.named_parameters():
      parameter.copy_(values[name])
  return {name: x for name, x in saved.items() if not name.endswith(CORRECTION)}
