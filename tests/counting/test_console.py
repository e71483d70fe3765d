"""The table a person reads."""

import io

import pytest
from rich.console import Console

from lmhp.counting.console import amount, bytes_of, duration, rows, table
from lmhp.counting.description import describe
from lmhp.model.presets import preset


def printed(reports, width=200):
  out = io.StringIO()
  table(reports, Console(file=out, width=width))
  return out.getvalue()


def test_one_model():
  text = printed([describe('gpt2', preset('gpt2'))])
  lines = {line.strip()[:24].strip(): line for line in text.splitlines()}
  assert 'gpt2' in text and '124,439,808' in lines['parameters']
  assert '38,597,376' in text and '31.0%' in text
  assert (
    'other' not in text and '\n  output' not in text
  )  # kinds that nobody has are left out


def test_models_side_by_side():
  reports = [
    describe('gpt2', preset('gpt2')),
    describe('llama', preset('llama-2-7b'), seq_len=2048),
  ]
  cells = dict(rows(reports))
  assert cells['parameters'] == ['124,439,808', '6,738,415,616']
  assert cells['  positional'][0].startswith('786,432') and cells['  positional'][
    1
  ].startswith('0 ')
  assert cells['sequence length'] == ['1,024', '2,048']
  line = next(
    line for line in printed(reports).splitlines() if line.split()[:1] == ['parameters']
  )
  assert line.split()[1:] == ['124,439,808', '6,738,415,616']


def test_every_row_has_a_cell_for_each_model():
  reports = [
    describe(name, preset(name), batch_size=2, seq_len=64, device='h100')
    for name in ('gpt2', 'pythia-70m')
  ]
  assert all(len(cells) == 2 for _, cells in rows(reports))
  names = [name for name, _ in rows(reports)]
  assert len(set(names)) == len(names)
  assert {
    'activations, remat none',
    'training tokens',
    'on h100 at 40%',
    'cost',
  } <= set(names)


def test_names_are_shown_as_they_are():
  """A path may have brackets, which rich would read as markup."""
  assert '[red]x[/red].json' in printed([describe('[red]x[/red].json', preset('gpt2'))])


def test_no_figure_is_cut_in_a_narrow_window():
  text = printed(
    [describe(name, preset(name)) for name in ('gpt2', 'llama-2-7b', 'gemma-2-2b')],
    width=60,
  )
  assert '…' not in text and '124,439,808' in text and '266,240' in text


@pytest.mark.parametrize(
  'x, text',
  [
    (0, '0'),
    (999, '999'),
    (1000, '1 k'),
    (1_720_576, '1.72 M'),
    (3.0e15, '3e+03 T'),
    (0.5, '0.5'),
    (12.5, '12.5'),
  ],
)
def test_amount(x, text):
  assert amount(x, 1000, ('', 'k', 'M', 'G', 'T')) == text


@pytest.mark.parametrize(
  'x, text',
  [
    (0, '0 B'),
    (13 / 9, '1.44 B'),
    (1023, '1,023 B'),
    (1024, '1 KiB'),
    (1536, '1.5 KiB'),
    (2**40, '1 TiB'),
  ],
)
def test_bytes_of(x, text):
  assert bytes_of(x) == text


@pytest.mark.parametrize(
  'seconds, text',
  [
    (0.5, '0.5 seconds'),
    (90, '90 seconds'),
    (600, '10 minutes'),
    (3600, '1 hours'),
    (7200, '2 hours'),
    (3 * 86400, '3 days'),
    (3 * 365.25 * 86400, '3 years'),
  ],
)
def test_duration(seconds, text):
  assert duration(seconds) == text
