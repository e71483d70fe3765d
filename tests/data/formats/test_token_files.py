"""Files of token ids: their dtype is stated or shown by the bytes, and never assumed."""

from etils import epath
import numpy as np
import pytest

from lmhp.data.formats import token_files
from lmhp.errors import ConfigError

TEXT = ('The cat sat on a mat, and looked at the moon; nobody cared. ' * 200).encode()
RNG = np.random.default_rng(0)
# Ids of a vocabulary of 50,257 tokens: frequent ones are small, as in text.
WORDS = np.minimum(RNG.zipf(1.3, 4000), 50256)
# Ids of a vocabulary of 128,256 tokens (Llama 3).
WIDE_WORDS = np.where(RNG.random(4000) < 0.2, RNG.integers(65536, 128256, 4000), WORDS)
BYTES = np.frombuffer(TEXT, np.uint8)


def read(path, stated='auto'):
  return token_files.read_ids(epath.Path(path), stated)


@pytest.mark.parametrize(
  'ids, dtype',
  [
    (BYTES, 'uint8'),
    (RNG.choice(BYTES, 9999) % 60, 'uint8'),
    (BYTES, 'uint16'),
    (BYTES, 'uint32'),
    (BYTES, 'int64'),
    (WORDS, 'uint16'),
    (WORDS[:1000], 'uint16'),
    (WORDS, 'uint32'),
    (WORDS, 'int64'),
    (WIDE_WORDS, 'uint32'),
    (WIDE_WORDS, 'int64'),
    (RNG.integers(0, 10, 4000), 'uint16'),
    (RNG.integers(0, 10, 4000), 'uint32'),
    (RNG.integers(0, 50257, 4000), 'uint16'),
    (np.arange(64), 'uint16'),
  ],
)
def test_dtype_is_found_from_the_bytes(tmp_path, ids, dtype):
  (tmp_path / 'x.bin').write_bytes(ids.astype(dtype).tobytes())
  found, name = read(tmp_path / 'x.bin')
  assert name == dtype
  assert found.dtype.kind == 'u' and found.dtype.itemsize <= 4
  np.testing.assert_array_equal(found, ids)


@pytest.mark.parametrize(
  'data',
  [
    np.asarray([5, 1, 4], '<u2').tobytes(),
    bytes(4096),
    RNG.integers(0, 256, 9999, np.uint8).tobytes(),
    RNG.integers(0, 10, 200, np.uint8).tobytes(),
  ],
)
def test_bytes_that_decide_nothing_are_refused(tmp_path, data):
  (tmp_path / 'x.bin').write_bytes(data)
  with pytest.raises(ConfigError, match=r'data\.token_dtype: .*x\.bin .*uint16'):
    read(tmp_path / 'x.bin')


@pytest.mark.parametrize('dtype', token_files.DTYPES)
def test_stated_dtype_is_used(tmp_path, dtype):
  (tmp_path / 'x.bin').write_bytes(np.asarray([5, 1, 4], dtype).tobytes())
  ids, name = read(tmp_path / 'x.bin', dtype)
  assert ids.tolist() == [5, 1, 4] and name == dtype


@pytest.mark.parametrize('magic, dtype', token_files.LLM_C_HEADERS.items())
def test_header_of_llm_c_is_read_and_is_no_text(tmp_path, magic, dtype):
  header = np.zeros(256, '<i4')
  header[:3] = magic, 1, len(WORDS)
  data = header.tobytes() + WORDS.astype(dtype).tobytes()
  (tmp_path / 'x.bin').write_bytes(data)
  ids, name = read(tmp_path / 'x.bin')
  assert name == dtype
  np.testing.assert_array_equal(ids, WORDS)
  with pytest.raises(ConfigError, match=r'data\.token_dtype: .*header'):
    read(tmp_path / 'x.bin', 'int64')
  (tmp_path / 'x.bin').write_bytes(data[:-400])
  with pytest.raises(ConfigError, match=r'expected 4000 \(its header\)'):
    read(tmp_path / 'x.bin')


@pytest.mark.parametrize('code, dtype', [(8, 'uint16'), (4, 'int32')])
def test_index_of_megatron_gives_the_dtype(tmp_path, code, dtype):
  (tmp_path / 'x.bin').write_bytes(np.asarray([5, 1, 4], dtype).tobytes())
  (tmp_path / 'x.idx').write_bytes(
    b'MMIDIDX\0\0' + (1).to_bytes(8, 'little') + bytes([code]) + bytes(16)
  )
  ids, name = read(tmp_path / 'x.bin')
  assert ids.tolist() == [5, 1, 4] and name == dtype


def test_numpy_file_has_its_dtype_and_one_without_header_is_read_like_bin(tmp_path):
  np.save(tmp_path / 'x.npy', np.asarray([5, 1, 4], np.int64))
  ids, name = read(tmp_path / 'x.npy')
  assert ids.tolist() == [5, 1, 4] and name == 'int64'
  np.save(tmp_path / 'x.npy', np.zeros((2, 2), np.float32))
  with pytest.raises(ConfigError, match=r'float32 and shape \(2, 2\)'):
    read(tmp_path / 'x.npy')
  (tmp_path / 'x.npy').write_bytes(WORDS.astype(np.uint16).tobytes())
  np.testing.assert_array_equal(read(tmp_path / 'x.npy')[0], WORDS)


@pytest.mark.parametrize('wrong', [-100, 2**32])
def test_id_out_of_range_is_an_error(tmp_path, wrong):
  (tmp_path / 'x.bin').write_bytes(np.asarray([1, wrong], np.int64).tobytes())
  with pytest.raises(ConfigError, match=f'got the token {wrong}'):
    read(tmp_path / 'x.bin', 'int64')


def test_short_validation_split_has_the_dtype_of_the_training_split(tmp_path):
  (tmp_path / 'val.bin').write_bytes(np.asarray([5, 1], np.uint32).tobytes())
  files = (epath.Path(tmp_path / 'val.bin'),)
  ids, _ = token_files.read_split(files, 'auto', 'uint32')
  assert ids.tolist() == [5, 1]


# --- files of a source ----------------------------------------------------------------


def names(path):
  found = token_files.find(str(path))
  return [file.name for file in found.train], [file.name for file in found.validation]


def test_lone_file(tmp_path):
  (tmp_path / 'other.bin').touch()
  assert names(tmp_path / 'other.bin') == (['other.bin'], [])
  assert names(tmp_path / 'absent.bin') == ([], [])


def test_train_and_val_of_nanogpt_belong_together(tmp_path):
  (tmp_path / 'train.bin').touch()
  assert names(tmp_path) == (['train.bin'], [])
  (tmp_path / 'val.bin').touch()
  assert names(tmp_path) == (['train.bin'], ['val.bin'])
  assert names(tmp_path / 'train.bin') == (['train.bin'], ['val.bin'])
  assert names(tmp_path / 'val.bin') == (['val.bin'], [])


def test_files_of_llm_c_in_a_directory_are_split_by_their_names(tmp_path):
  train = ['fineweb_train_000001.bin', 'fineweb_train_000002.bin']
  for name in (*train, 'fineweb_val_000000.bin'):
    (tmp_path / name).touch()
  assert names(tmp_path) == (train, ['fineweb_val_000000.bin'])
  assert names(tmp_path / '*train*.bin') == (train, [])
  (tmp_path / 'a.txt').touch()
  assert names(tmp_path) == ([], [])


def test_files_of_a_glob_are_joined(tmp_path):
  for i in range(2):
    np.save(tmp_path / f'{i}.npy', np.arange(i, i + 3, dtype=np.uint16))
  files = token_files.find(str(tmp_path / '*.npy')).train
  ids, _ = token_files.read_split(files, 'auto')
  assert ids.tolist() == [0, 1, 2, 1, 2, 3]
