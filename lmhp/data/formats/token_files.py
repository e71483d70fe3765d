"""Files of token ids that other tools wrote: arrays without text, in .bin and .npy files.

The dtype of the ids is never assumed. It is that of `data.token_dtype`, of a header, of an index
beside the file, or what the bytes show (`detect_dtype`). If none of them decides, the user is
asked.

- nanoGPT: train.bin and val.bin without a header, uint16 (or uint32 with other tokenizers).
- llm.c and modded-nanogpt: a header of 256 int32, and then uint16 or uint32.
- Megatron-LM: NAME.bin without a header, and NAME.idx, which has the dtype.
- NumPy: .npy files, with NumPy's header or (OLMo) without one.
"""

from __future__ import annotations

import codecs
from collections.abc import Sequence
import dataclasses

from etils import epath
import numpy as np

from lmhp.data.formats.source_files import find_files, is_glob
from lmhp.errors import ConfigError
from lmhp.files import as_path, is_remote

SUFFIXES = ('.bin', '.npy')

DTYPES = ('uint8', 'uint16', 'uint32', 'int32', 'int64')
"""Dtypes of ids, the values of `data.token_dtype`."""

LLM_C_HEADERS = {20240520: 'uint16', 20240801: 'uint32'}
"""{first number of the header: dtype of the ids}.

Source: https://github.com/karpathy/llm.c, dev/data/data_common.py.
"""
_LLM_C_HEADER_BYTES = 256 * 4

_MEGATRON_MAGIC = b'MMIDIDX\x00\x00'
_MEGATRON_DTYPES = {1: 'uint8', 4: 'int32', 5: 'int64', 8: 'uint16'}
"""{code in the .idx file: dtype of the ids}.

Source: https://github.com/NVIDIA/Megatron-LM, megatron/core/datasets/indexed_dataset.py.
"""

SAMPLE_BYTES = 1 << 20
"""Bytes at the start of a file from which `detect_dtype` reads the dtype."""

_MIN_VALUES = 16
"""Fewest ids from which a dtype is concluded."""
_MIN_TEXT_BYTES = 4096
"""Fewest bytes from which `detect_dtype` concludes uint8."""
_MAX_HIGH_HALF = 15
"""Largest upper half of a 32-bit id: no vocabulary has 2**20 ids."""


@dataclasses.dataclass(frozen=True)
class TokenFiles:
  """The files of a source of token ids.

  Attributes:
    train: Files of the training split, or of a source that is not split. Empty if the source
      has no such file.
    validation: Files of the validation split. Empty if there is none.
  """

  train: tuple[epath.Path, ...]
  validation: tuple[epath.Path, ...] = ()


def find(name: str) -> TokenFiles:
  """Returns the files of token ids of a source.

  A source is one file, a glob, or a directory. A val.bin beside a train.bin is its validation
  split, and so are the files of a directory whose names contain `val`.

  Args:
    name: Path or glob.
  """
  path = as_path(name)
  if is_glob(name):
    found = find_files(name).files
    return TokenFiles(tuple(file for file in found if file.suffix in SUFFIXES))
  if path.is_dir():
    train = path / 'train.bin'
    return _split_pair(train) if train.exists() else _split_by_name(path)
  if path.suffix not in SUFFIXES or not path.exists():
    return TokenFiles(())
  return _split_pair(path) if path.name == 'train.bin' else TokenFiles((path,))


def _split_pair(train: epath.Path) -> TokenFiles:
  """Returns a train.bin, and the val.bin beside it if there is one."""
  validation = train.parent / 'val.bin'
  return TokenFiles((train,), (validation,) if validation.exists() else ())


def _split_by_name(directory: epath.Path) -> TokenFiles:
  """Returns the files of a directory, if all of its visible files have a suffix of ids."""
  below = sorted(path for path in directory.iterdir() if path.name[0] != '.')
  files = [path for path in below if path.suffix in SUFFIXES]
  others = [path for path in below if path.suffix not in (*SUFFIXES, '.idx', '.json')]
  if others:
    return TokenFiles(())
  validation = [file for file in files if 'val' in file.name]
  train = [file for file in files if file not in validation]
  if not train:
    return TokenFiles(tuple(files))
  return TokenFiles(tuple(train), tuple(validation))


# --- reading --------------------------------------------------------------------------


def read_split(
  files: Sequence[epath.Path], stated: str, dtype_of_train: str | None = None
) -> tuple[np.ndarray, str]:
  """Returns the ids of a split, and their dtype in the files.

  Args:
    files: Files in order. The ids of several files are joined in memory.
    stated: Value of `data.token_dtype`, one of `DTYPES` or 'auto'.
    dtype_of_train: Dtype of the training split, for a validation split that is too short to
      show its own. None for the training split.

  Returns:
    (n,) ids of an unsigned dtype, memory-mapped if there is one local file.

  Raises:
    ConfigError: If the dtype of a file is not known, or its size does not fit.
  """
  arrays: list[np.ndarray] = []
  dtype = dtype_of_train
  for file in files:
    ids, dtype = read_ids(file, stated, dtype)
    arrays.append(ids)
  assert dtype is not None, 'a split has a file'
  return (arrays[0] if len(arrays) == 1 else np.concatenate(arrays)), dtype


def read_ids(
  file: epath.Path, stated: str, neighbour: str | None = None
) -> tuple[np.ndarray, str]:
  """Returns the ids of one file, and their dtype in the file.

  Args:
    file: Path of the file.
    stated: Value of `data.token_dtype`.
    neighbour: Dtype of a file of the same source, which is used if the bytes show none.

  Raises:
    ConfigError: As for `read_split`.
  """
  with file.open('rb') as content:
    sample = np.frombuffer(content.read(SAMPLE_BYTES), np.uint8)
  if sample[:6].tobytes() == b'\x93NUMPY':
    ids = np.load(file, mmap_mode=None if is_remote(file) else 'r', allow_pickle=False)
    if ids.ndim != 1 or ids.dtype.name not in DTYPES:
      raise ConfigError(
        f'data.path: {file}: got an array of {ids.dtype} and shape {ids.shape}, expected '
        f'one axis of {", ".join(DTYPES)}'
      )
    _check_stated(file, stated, ids.dtype.name, "NumPy's header")
    return _unsigned(file, ids), ids.dtype.name

  header = _llm_c_dtype(sample)
  if header is not None:
    _check_stated(file, stated, header, "llm.c's header")
    ids = _map(file, header, _LLM_C_HEADER_BYTES)
    n_tokens = int(sample[8:12].view('<i4')[0])
    if len(ids) != n_tokens:
      raise ConfigError(
        f'data.path: {file}: got {len(ids)} tokens, expected {n_tokens} (its header): the '
        'file was cut short or changed'
      )
    return ids, header

  index = _megatron_dtype(file.with_suffix('.idx'))
  if index is not None:
    _check_stated(file, stated, index, file.with_suffix('.idx').name)
  # A dtype that is stated needs no evidence.
  known = index or (stated if stated != 'auto' else None)
  dtype = known or detect_dtype(sample) or neighbour
  if dtype is None:
    raise ConfigError(
      f'data.token_dtype: {file} does not show the dtype of its tokens, expected one of '
      f'{", ".join(DTYPES)}'
    )
  return _unsigned(file, _map(file, dtype)), dtype


def _check_stated(file: epath.Path, stated: str, actual: str, origin: str) -> None:
  if stated not in ('auto', actual):
    raise ConfigError(
      f'data.token_dtype: got {stated!r}, but {origin} of {file} gives {actual}'
    )


def _llm_c_dtype(sample: np.ndarray) -> str | None:
  """Returns the dtype that a header of llm.c states. None if there is no such header."""
  if len(sample) < _LLM_C_HEADER_BYTES:
    return None
  return LLM_C_HEADERS.get(int(sample[:4].view('<i4')[0]))


def _megatron_dtype(index: epath.Path) -> str | None:
  """Returns the dtype that a .idx file of Megatron-LM states. None if there is no such file."""
  if not index.exists():
    return None
  with index.open('rb') as content:
    head = content.read(len(_MEGATRON_MAGIC) + 9)
  if not head.startswith(_MEGATRON_MAGIC) or len(head) < len(_MEGATRON_MAGIC) + 9:
    return None
  # After the magic bytes: the version in 8 bytes, and the code of the dtype in 1 byte.
  code = head[-1]
  if code not in _MEGATRON_DTYPES:
    raise ConfigError(
      f'data.path: {index}: got the dtype code {code}, expected one of '
      f'{", ".join(map(str, _MEGATRON_DTYPES))} (whole numbers)'
    )
  return _MEGATRON_DTYPES[code]


def _map(file: epath.Path, dtype_name: str, offset: int = 0) -> np.ndarray:
  """Returns the values of a file after `offset` bytes, memory-mapped if the file is local.

  Raises:
    ConfigError: If there are none, or their bytes are not a multiple of the size of a value.
  """
  dtype = np.dtype(dtype_name).newbyteorder('<')
  size = file.stat().length - offset
  if size <= 0 or size % dtype.itemsize:
    raise ConfigError(
      f'data.path: {file}: got {size} bytes, expected a positive multiple of '
      f'{dtype.itemsize} ({dtype_name} tokens)'
    )
  # A remote file cannot be memory-mapped, so it is read as a whole.
  if is_remote(file):
    return np.frombuffer(file.read_bytes(), dtype, offset=offset)
  return np.memmap(file, dtype, 'r', offset)


def _unsigned(file: epath.Path, ids: np.ndarray) -> np.ndarray:
  """Returns ids as an unsigned dtype of at most 32 bits. The ids of int64 are copied.

  Raises:
    ConfigError: If an id is negative, or does not fit into 32 bits.
  """
  if ids.dtype.kind == 'u' or not len(ids):
    return ids
  smallest = int(ids.min())
  largest = int(ids.max())
  if smallest < 0 or largest >= 2**32:
    wrong_id = smallest if smallest < 0 else largest
    raise ConfigError(
      f'data.path: {file}: got the token {wrong_id}, expected ids from 0 to 2**32 - 1'
    )
  return ids.view(np.uint32) if ids.dtype.itemsize == 4 else ids.astype(np.uint32)


# --- detection ------------------------------------------------------------------------


def detect_dtype(sample: np.ndarray) -> str | None:
  """Returns the dtype of token ids from their bytes. None if the bytes do not decide.

  - The upper bytes of wide ids are 0, since no vocabulary has 2**20 ids.
  - The two bytes of a 16-bit id have different distributions.
  - 8-bit ids are the bytes of a text, or have the same distribution at even and odd places.

  Args:
    sample: (n,) uint8, the first bytes of the file.
  """
  n_bytes = len(sample) // 8 * 8
  if n_bytes < 8 * _MIN_VALUES or not sample.any():
    return None
  halves = sample[:n_bytes].view('<u2')

  # 64 bits: the upper 32 bits of each id are 0. 32 bits: the upper 16 bits are 0 or small.
  quarters = halves.reshape(-1, 4)
  if not quarters[:, 2:].any() and quarters[:, 1].max() <= _MAX_HIGH_HALF:
    return 'int64'
  low, high = halves.reshape(-1, 2).T
  is_small = high.max() <= _MAX_HIGH_HALF
  if is_small and (not high.any() or low.max() > 255):
    return 'uint32'

  if _is_text(sample.tobytes()):
    return 'uint8'

  # 16 bits, or 8 bits.
  even = np.bincount(sample[:n_bytes:2], minlength=256)
  odd = np.bincount(sample[1:n_bytes:2], minlength=256)
  if not odd[1:].any() or _differ(even, odd):
    return 'uint16'
  is_uniform = (even + odd).max() < 3 * n_bytes / 256
  return None if n_bytes < _MIN_TEXT_BYTES or is_uniform else 'uint8'


def _is_text(data: bytes) -> bool:
  """Returns True if bytes are UTF-8 text without control characters."""
  try:
    # The end of the sample may cut a character, which has at most four bytes.
    text = codecs.getincrementaldecoder('utf-8')().decode(data)
  except UnicodeDecodeError:
    return False
  return min(text, default='\0') >= '\t'


def _differ(counts: np.ndarray, others: np.ndarray) -> bool:
  """Returns True if two histograms come from different distributions.

  The statistic of the chi-squared test of homogeneity has mean `df` and variance `2 df` if the
  distributions are equal. The margin of 8 standard deviations allows for the correlation of
  neighbouring bytes.
  """
  total = counts + others
  occurs = total > 0
  difference = (counts - others)[occurs].astype(np.float64)
  statistic = float(np.sum(difference**2 / total[occurs]))
  df = max(int(occurs.sum()) - 1, 1)
  return statistic > df + 8 * (2 * df) ** 0.5
