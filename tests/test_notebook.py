"""docs/notebooks/first_study.ipynb runs from its first to its last cell, at a small size."""

import json
import pathlib

import pytest

NOTEBOOK = (
  pathlib.Path(__file__).parents[1] / 'docs' / 'notebooks' / 'first_study.ipynb'
)
SMALL = """CHECKOUT = {root!r}
RESULTS = {results!r}
STEPS = 24
TRIALS = 4
SEEDS = 2
D_MODEL = 16
N_LAYERS = 1"""


def test_notebook_is_short_and_has_no_outputs():
  book = json.loads(NOTEBOOK.read_text())
  assert len(book['cells']) <= 12
  assert all(not cell.get('outputs') for cell in book['cells'])
  assert (
    sum('parameters' in cell['metadata'].get('tags', []) for cell in book['cells']) == 1
  )


@pytest.mark.extra
@pytest.mark.slow
@pytest.mark.filterwarnings('ignore::DeprecationWarning')
def test_notebook_runs(tmp_path, monkeypatch):
  nbformat, nbclient = pytest.importorskip('nbformat'), pytest.importorskip('nbclient')
  pytest.importorskip('ipykernel')
  book = nbformat.read(NOTEBOOK, as_version=4)
  cell = next(c for c in book.cells if 'parameters' in c.metadata.get('tags', []))
  cell.source = SMALL.format(
    root=str(NOTEBOOK.parents[2]), results=str(tmp_path / 'runs')
  )
  monkeypatch.setenv('PYTHONWARNINGS', 'default')
  monkeypatch.chdir(tmp_path)
  nbclient.NotebookClient(book, timeout=600, kernel_name='python3').execute()
  shown = [
    output['data']
    for c in book.cells
    for output in c.get('outputs', [])
    if 'data' in output
  ]
  assert any('iframe' in data.get('text/html', '') for data in shown)
  assert (tmp_path / 'runs' / 'first_study' / 'report.html').exists()
  assert any(
    'Returns the' in output.get('text', '')
    for c in book.cells
    for output in c.get('outputs', [])
  )
