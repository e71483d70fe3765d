"""The cache: directories appear complete, and corrupt ones are written again."""

import logging
import os

from etils import epath
import pytest

from lmhp.data import cache
from lmhp.data.config import DataConfig
from lmhp.errors import ConfigError


def test_cache_dir_follows_the_key_then_the_environment_then_home(monkeypatch):
  monkeypatch.setenv('HOME', '/home/user')
  monkeypatch.delenv('LMHP_CACHE', raising=False)
  assert str(cache.cache_dir(DataConfig())) == '/home/user/.cache/lmhp'
  monkeypatch.setenv('LMHP_CACHE', '/x')
  assert str(cache.cache_dir(DataConfig())) == '/x'
  assert str(cache.cache_dir(DataConfig(cache_dir='/y'))) == '/y'


def test_new_directory_has_its_name_after_the_block(tmp_path):
  with cache.new_directory(epath.Path(tmp_path / 'd')) as unfinished:
    (unfinished / 'x').write_text('x')
    assert not (tmp_path / 'd').exists()
  assert [path.name for path in tmp_path.iterdir()] == ['d']
  assert (tmp_path / 'd' / 'x').read_text() == 'x'


def test_failed_block_leaves_no_directory(tmp_path):
  with pytest.raises(ZeroDivisionError):
    with cache.new_directory(epath.Path(tmp_path / 'd')) as unfinished:
      (unfinished / 'x').write_text(str(1 / 0))
  assert not list(tmp_path.iterdir())


def test_files_are_synced_before_the_rename(tmp_path, monkeypatch):
  synced = set()

  def fsync(handle):
    assert not (tmp_path / 'd').exists()
    synced.add(os.path.basename(os.readlink(f'/proc/self/fd/{handle}')))

  monkeypatch.setattr(os, 'fsync', fsync)
  with cache.new_directory(epath.Path(tmp_path / 'd')) as unfinished:
    (unfinished / 'x').write_text('x')
    (unfinished / 'y').write_text('y')
  assert synced == {'x', 'y', unfinished.name}


def test_first_of_two_writers_is_kept(tmp_path):
  with cache.new_directory(epath.Path(tmp_path / 'd')) as late:
    with cache.new_directory(epath.Path(tmp_path / 'd')) as early:
      (early / 'early').write_text('')
    (late / 'late').write_text('')
  assert [path.name for path in (tmp_path / 'd').iterdir()] == ['early']
  assert len(list(tmp_path.iterdir())) == 1


def write_text(directory):
  with cache.new_directory(directory) as unfinished:
    (unfinished / 'text').write_text('good')


def read_text(directory):
  text = (directory / 'text').read_text()
  if text != 'good':
    raise ConfigError('corrupt')
  return text


def test_absent_directory_is_written_and_read(tmp_path):
  directory = epath.Path(tmp_path / 'd')
  assert cache.read_or_write(directory, write_text, read_text) == 'good'


def test_present_directory_is_not_written(tmp_path):
  directory = epath.Path(tmp_path / 'd')
  write_text(directory)
  assert cache.read_or_write(directory, lambda _: 1 / 0, read_text) == 'good'


def test_corrupt_directory_is_reported_and_written_again(tmp_path, caplog):
  directory = epath.Path(tmp_path / 'd')
  write_text(directory)
  (directory / 'text').write_text('bad')
  with caplog.at_level(logging.WARNING, 'lmhp'):
    assert cache.read_or_write(directory, write_text, read_text) == 'good'
  assert 'corrupt' in caplog.text
  assert [path.name for path in tmp_path.iterdir()] == ['d']
