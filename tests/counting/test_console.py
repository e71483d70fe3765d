"""The table of counts on the terminal."""

import io

import pytest
from rich.console import Console

from lmhp.counting.console import print_table, table_rows
from lmhp.counting.counted_model import CountedModel
from lmhp.counting.description import describe
from lmhp.model.presets import preset


def printed(descriptions, width=200):
  output = io.StringIO()
  print_table(descriptions, Console(file=output, width=width))
  return output.getvalue()


@pytest.fixture(scope='module')
def gpt2():
  return describe(CountedModel('gpt2', preset('gpt2')))


def test_counts_of_one_model(gpt2):
  cells = {row.name: row.cells for row in table_rows([gpt2])}
  assert cells['parameters'] == ['124,439,808']
  number, percentage = cells['  embedding'][0].split()
  assert number == '38,597,376'
  assert percentage == '31.0%'


def test_kinds_that_no_model_has_are_left_out(gpt2):
  names = [row.name for row in table_rows([gpt2])]
  assert '  embedding' in names
  assert '  other' not in names
  assert '  output' not in names


def test_models_are_side_by_side(gpt2):
  llama = describe(CountedModel('llama', preset('llama-2-7b')), seq_len=2048)
  cells = {row.name: row.cells for row in table_rows([gpt2, llama])}
  assert cells['parameters'] == ['124,439,808', '6,738,415,616']
  assert [cell.split()[0] for cell in cells['  positional']] == ['786,432', '0']
  assert cells['sequence length'] == ['1,024', '2,048']


def test_the_printed_table_has_one_column_for_each_model(gpt2):
  llama = describe(CountedModel('llama', preset('llama-2-7b')))
  for line in printed([gpt2, llama]).splitlines():
    if line.split()[:1] == ['parameters']:
      assert line.split()[1:] == ['124,439,808', '6,738,415,616']
      return
  pytest.fail('no row of parameters')


def test_every_row_has_a_cell_for_each_model():
  descriptions = [
    describe(CountedModel(name, preset(name)), batch_size=2, seq_len=64, device='h100')
    for name in ('gpt2', 'pythia-70m')
  ]
  rows = table_rows(descriptions)
  assert all(len(row.cells) == 2 for row in rows)
  names = [row.name for row in rows]
  assert len(set(names)) == len(names)
  assert {'training tokens', 'training FLOPs', 'cost'} <= set(names)
  assert 'on h100 at 40%' in names
  assert 'activations, remat none' in names


def test_brackets_in_a_name_are_not_markup():
  description = describe(CountedModel('[red]x[/red].json', preset('gpt2')))
  assert '[red]x[/red].json' in printed([description])


def test_no_number_is_cut_in_a_narrow_window():
  names = ('gpt2', 'llama-2-7b', 'gemma-2-2b')
  text = printed(
    [describe(CountedModel(name, preset(name))) for name in names], width=60
  )
  assert '…' not in text
  assert '124,439,808' in text
  assert '266,240' in text
