"""Names the formats of model files that lmhp does not read, for error messages."""

from __future__ import annotations

from etils import epath

_READABLE = 'lmhp reads a config.json and safetensors'

# {end of a file name: what the file is}.
_FORMATS = {
  'adapter_config.json': 'a PEFT adapter, whose base model lmhp can read if it is merged',
  'model_index.json': 'a pipeline of diffusers',
  '.gguf': 'a GGUF file of llama.cpp',
  '.ggml': 'a GGML file of llama.cpp',
  'params.json': 'a checkpoint in the original format of Llama or Mistral',
  'consolidated.safetensors': 'a checkpoint in the original format of Mistral',
  '.onnx': 'an ONNX model',
  '.msgpack': 'a Flax checkpoint',
  '.h5': 'a TensorFlow checkpoint',
  '.bin': 'a pickle of PyTorch, which can run any code and is not read',
  '.pt': 'a pickle of PyTorch, which can run any code and is not read',
  '.pth': 'a pickle of PyTorch, which can run any code and is not read',
  '.ckpt': 'a pickle of PyTorch, which can run any code and is not read',
  '.pkl': 'a pickle, which can run any code and is not read',
  '.npz': 'an archive of numpy arrays',
}


def other_format(path: epath.Path) -> str | None:
  """Describes a file, or the first known file of a directory, in a format that is not read.

  Args:
    path: File that may not exist, or directory.

  Returns:
    A description that ends an error message. None if no format is recognized.
  """
  names = [path.name]
  if path.is_dir():
    names = sorted(file.name for file in path.iterdir())
  for ending, description in _FORMATS.items():
    for name in names:
      # A suffix begins with a dot. Other endings are whole names.
      if name.lower() == ending or name.lower().endswith(ending) and ending[0] == '.':
        return f'{name} is {description}; {_READABLE}'
  return None
