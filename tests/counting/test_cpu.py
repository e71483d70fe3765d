"""The measured processor, and its stored measurement."""

import json
import pathlib

import pytest

from lmhp.counting import cpu
from lmhp.counting.cpu import measured_cpu
from lmhp.counting.device import Device
from lmhp.counting.hardware import find_device


def fake_device(source, bfloat16_flops=2.0, float32_flops=1.0, bandwidth=1.0):
  return Device(
    name='cpu',
    bfloat16_flops=bfloat16_flops,
    float32_flops=float32_flops,
    memory_bytes=1.0,
    bandwidth=bandwidth,
    usd_per_hour=0.0,
    source=source,
  )


def test_measured_figures_are_plausible(tmp_path, monkeypatch):
  monkeypatch.setenv('LMHP_CACHE', str(tmp_path / 'new'))
  device = find_device('cpu')
  assert 1e9 < device.float32_flops < 1e14
  assert 1e9 < device.bfloat16_flops < 1e14
  assert 1e8 < device.bandwidth < 1e13
  assert device.memory_bytes > 1e8
  assert device.usd_per_hour == 0
  assert device.peak('auto') == max(device.bfloat16_flops, device.float32_flops)


def test_the_second_call_reads_the_stored_measurement(tmp_path, monkeypatch):
  monkeypatch.setenv('LMHP_CACHE', str(tmp_path))
  monkeypatch.setattr(cpu, '_measure', lambda key: fake_device('first'))
  first = find_device('cpu')
  monkeypatch.setattr(cpu, '_measure', lambda key: pytest.fail('measured again'))
  assert find_device('CPU') == first


def test_measuring_again_keeps_the_better_of_each_figure(tmp_path, monkeypatch):
  monkeypatch.setenv('LMHP_CACHE', str(tmp_path))
  measurements = iter(
    [
      fake_device('busy', bfloat16_flops=2.0, float32_flops=1.0, bandwidth=7.0),
      fake_device('idle', bfloat16_flops=1.0, float32_flops=3.0, bandwidth=5.0),
    ]
  )
  monkeypatch.setattr(cpu, '_measure', lambda key: next(measurements))
  measured_cpu()
  best = fake_device('idle', bfloat16_flops=2.0, float32_flops=3.0, bandwidth=7.0)
  assert measured_cpu(again=True) == best
  assert measured_cpu() == best


@pytest.mark.parametrize(
  'content', ['', '{', '[]', '{"x": 1}', '{"KEY": {"name": "cpu"}}', '{"KEY": 3}']
)
def test_a_damaged_file_is_measured_anew(tmp_path, monkeypatch, content):
  monkeypatch.setenv('LMHP_CACHE', str(tmp_path))
  key = f'{cpu.processor_name()}, {cpu.os.cpu_count()} cores'
  (tmp_path / 'cpu.json').write_text(content.replace('KEY', key))
  fake = fake_device('fake')
  monkeypatch.setattr(cpu, '_measure', lambda key: fake)
  assert measured_cpu() == fake
  assert json.loads((tmp_path / 'cpu.json').read_text())[key]['source'] == 'fake'


def test_a_directory_that_cannot_be_written_is_no_error(tmp_path, monkeypatch):
  (tmp_path / 'file').write_text('')
  monkeypatch.setenv('LMHP_CACHE', str(tmp_path / 'file' / 'below'))
  fake = fake_device('fake')
  monkeypatch.setattr(cpu, '_measure', lambda key: fake)
  assert measured_cpu() == fake


def test_facts_are_the_first_lines_of_their_name_in_linux(monkeypatch):
  cpuinfo = (
    'processor\t: 0\nmodel name\t: Some\nflags\t\t: fpu vme amx_bf16\nbugs\t\t: none\n'
  )
  monkeypatch.setattr(pathlib.Path, 'read_text', lambda path: cpuinfo)
  assert cpu.processor_fact('flags') == 'fpu vme amx_bf16'
  assert cpu.processor_name() == 'Some'


def test_without_a_line_of_its_name_a_fact_is_empty(monkeypatch):
  monkeypatch.setattr(pathlib.Path, 'read_text', lambda path: 'another format')
  assert cpu.processor_fact('flags') == ''


def test_without_the_file_a_fact_is_empty(monkeypatch):
  def absent(path):
    raise FileNotFoundError

  monkeypatch.setattr(pathlib.Path, 'read_text', absent)
  assert cpu.processor_fact('flags') == ''
