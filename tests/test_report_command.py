"""`lmhp report`: its inputs, its output files, and one line for each mistake."""

import json

import numpy as np
import pytest

from lmhp.cli import EXIT_MISTAKE, main


@pytest.fixture
def table(tmp_path):
  rng = np.random.default_rng(0)
  rates = 10 ** rng.uniform(-4, -2, 30)
  losses = 3 + 0.2 * (np.log10(rates) + 3) ** 2 + 0.005 * rng.standard_normal(30)
  path = tmp_path / 'trials.csv'
  path.write_text(
    'lr,note,val_loss\n'
    + ''.join(
      f'{r!r},"<script>alert(1)</script>",{x!r}\n'
      for r, x in zip(rates.tolist(), losses.tolist())
    )
  )
  return path


def of(table, *more):
  return ['report', str(table), '--objective=val_loss', '--parameters=lr', *more]


def test_answer_and_path_of_the_report_are_printed(
  table, tmp_path, capsys, monkeypatch
):
  monkeypatch.chdir(tmp_path)
  assert main(of(table)) in (0, None)
  out = capsys.readouterr().out.splitlines()
  assert (
    'lr' in out[0] and 'one seed' in out[1] and out[-1].strip().endswith('report.html')
  )
  page = (tmp_path / 'report.html').read_text()
  assert '<script>alert(1)' not in page


@pytest.mark.parametrize(
  'name, start', [('a.html', '<!doctype'), ('a.md', '# trials'), ('a.json', '{')]
)
def test_suffix_selects_the_format(table, tmp_path, name, start):
  main(of(table, f'--output={tmp_path / name}'))
  assert (tmp_path / name).read_text().startswith(start)


def test_json_is_printed_to_the_terminal(table, capsys):
  main(of(table, '--format=json', '--output=-'))
  found = json.loads(capsys.readouterr().out)
  assert len(found['answer']) == 3 and found['findings'][0]['kind'] == 'best_trial'


@pytest.mark.parametrize(
  'arguments, words',
  [
    (['report'], 'report: got no path'),
    (['report', '/nowhere'], '/nowhere: no such file or directory'),
    (['report', 'TABLE', '--objective=vall_loss'], "did you mean 'val_loss'"),
    (['report', 'TABLE', '--objective=val_loss', '--parameters=rate'], 'rate'),
    (
      ['report', 'TABLE', '--objective=val_loss', '--output=a.pdf'],
      "--output: got 'a.pdf', expected a name that ends in",
    ),
    (['report', 'TABLE', '--format=pdf'], 'format'),
  ],
)
def test_mistake_is_one_line(table, capsys, arguments, words):
  status = main([str(table) if a == 'TABLE' else a for a in arguments])
  captured = capsys.readouterr()
  assert status == EXIT_MISTAKE and captured.out == ''
  assert words in captured.err and len(captured.err.strip().splitlines()) == 1, (
    captured.err
  )
