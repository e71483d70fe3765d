"""Tests of the page in Chromium: no requests, all figures, mouse and keyboard."""

import json
import os
import shutil
import time

import numpy as np
import pytest

from lmhp.analysis.hyperparameters.effects import Effect
from lmhp.analysis.report.document import Column, Figure, Report, Section, Table
from lmhp.analysis.report.figures.effects import effects_figure
from lmhp.analysis.report.figures.style import layout, plot_axis, with_range
from lmhp.analysis.report.render import html as page
from lmhp.analysis.runs.table import Runs

pytestmark = pytest.mark.browser
DRAWN = (
  "[...document.querySelectorAll('.plot')]"
  ".every(p => p.dataset.drawn && p.querySelector('.main-svg'))"
)


@pytest.fixture(scope='module')
def browser():
  api = pytest.importorskip(
    'playwright.sync_api', reason='needs playwright (pip install playwright)'
  )
  path = os.environ.get('LMHP_CHROMIUM') or shutil.which('chromium')
  with api.sync_playwright() as playwright:
    try:
      started = playwright.chromium.launch(
        executable_path=path, args=['--no-sandbox', '--disable-gpu']
      )
    except api.Error as error:
      pytest.skip(
        'needs a Chromium (LMHP_CHROMIUM, or playwright install chromium): '
        f'{error.message.splitlines()[0]}'
      )
    yield started
    started.close()


def open_page(browser, path, source, seen, viewport=(1280, 900), **more):
  """Opens a tab with the page, all figures drawn. Requests and errors are added to `seen`."""
  path.write_text(source, encoding='utf-8')
  context = browser.new_context(
    viewport={'width': viewport[0], 'height': viewport[1]}, **more
  )
  context.grant_permissions(['clipboard-read', 'clipboard-write'])
  tab = context.new_page()
  tab.on(
    'request',
    lambda r: (
      seen.append(r.url)
      if r.url != path.as_uri() and r.url[:5] not in ('blob:', 'data:')
      else None
    ),
  )
  tab.on('console', lambda message: seen.append(f'{message.type}: {message.text}'))
  tab.on('pageerror', lambda error: seen.append(str(error)))
  tab.goto(path.as_uri())
  assert tab.evaluate('window.lmhpReady') is True
  return tab


@pytest.fixture
def opened(browser, tmp_path):
  """`opened(source, **context)`: a page of the test's own."""
  tabs, seen = [], []

  def start(source, viewport=(1280, 900), **more):
    tabs.append(
      open_page(browser, tmp_path / 'report.html', source, seen, viewport, **more)
    )
    return tabs[-1]

  yield start
  for tab in tabs:
    tab.context.close()
  assert seen == []


@pytest.fixture(scope='module')
def shared(browser, tmp_path_factory, report_of):
  seen = []
  tab = open_page(
    browser,
    tmp_path_factory.mktemp('report') / 'report.html',
    page.html(report_of()),
    seen,
  )
  yield tab, seen
  tab.context.close()


@pytest.fixture
def small(shared):
  """Returns the page of a small report that tests share. Each test closes what it opens."""
  tab, seen = shared
  yield tab
  assert seen == []


def until(tab, condition, seconds=10):
  """Waits until JavaScript is true.

  Playwright's function compiles a string in the page, which the page's policy forbids.
  """
  end = time.monotonic() + seconds
  while not tab.evaluate(condition):
    assert time.monotonic() < end, condition
    tab.wait_for_timeout(20)


def column(tab, table, place):
  return tab.locator(
    f'#table-{table} tbody tr td:nth-child({place})'
  ).all_text_contents()


def test_every_figure_is_drawn_in_the_theme_of_the_reader(opened, report_of):
  tab = opened(page.html(report_of()), color_scheme='dark')
  assert tab.evaluate(DRAWN)
  fill = "getComputedStyle(document.querySelector('#figure-response .point')).fill"
  ground = 'getComputedStyle(document.documentElement).backgroundColor'
  assert (
    tab.evaluate(fill) == 'rgb(99, 179, 237)'
    and tab.evaluate(ground) == 'rgb(22, 24, 28)'
  )
  tab.locator('#theme').click()
  until(tab, f"{fill} === 'rgb(0, 114, 178)'")
  assert tab.evaluate(ground) == 'rgb(253, 252, 249)'
  tab.reload()
  assert (
    tab.evaluate('window.lmhpReady') and tab.evaluate(ground) == 'rgb(253, 252, 249)'
  )  # the choice is kept
  tab.emulate_media(color_scheme='light')
  assert tab.evaluate(fill) == 'rgb(0, 114, 178)'


def test_a_table_sorts_by_click_and_by_key_with_the_missing_last(small):
  tab = small
  loss = tab.locator('#table-rates th button').nth(1)
  loss.click()
  assert column(tab, 'rates', 2) == [
    '3.50',
    '12.25',
    '–',
  ]  # as numbers: as text 12.25 would be first
  assert tab.locator('#table-rates th').nth(1).get_attribute('aria-sort') == 'ascending'
  tab.keyboard.press('Enter')
  assert column(tab, 'rates', 2) == ['12.25', '3.50', '–']
  tab.keyboard.press('Space')
  assert column(tab, 'rates', 2) == ['3.50', '–', '12.25']  # as it was given
  assert tab.locator('#table-rates th').nth(1).get_attribute('aria-sort') == 'none'
  tab.keyboard.press('Tab')
  tab.keyboard.press('Enter')
  assert column(tab, 'rates', 3) == ['a', 'b', 'c']


def test_a_long_table_shows_a_page_and_filters(opened, report_of):
  tab = opened(page.html(report_of(1000, 5)))
  rows, status = tab.locator('#trials tbody tr'), tab.locator('#trials .rows span')
  assert rows.count() == 50 and status.text_content() == '50 of 1,000 rows'
  tab.locator('#trials .rows button', has_text='Show all').click()
  assert rows.count() == 1000
  tab.locator('#trials input').fill('999 COMPLETE')
  assert column(tab, 'trials', 1)[-1] == '999' and 0 < rows.count() < 50
  tab.locator('#trials input').fill('no such run')
  assert (
    rows.count() == 0 and status.text_content() == '0 of 0 rows that match, of 1,000'
  )


def test_a_run_opens_by_key_and_gives_the_focus_back(small):
  tab = small
  tab.locator('#trials button.run').nth(3).focus()
  tab.keyboard.press('Enter')
  dialog = tab.locator('dialog')
  assert dialog.locator('h2').text_content() == 'Run 3'
  assert (
    'optimizer.learning_rate' in dialog.locator('section').nth(0).text_content()
  )  # what makes it unlike the others
  assert (
    'optimizer.clip_norminf' in dialog.text_content()
    and 'model.field_9999' in dialog.text_content()
  )
  tab.keyboard.type('FIELD_42')
  assert dialog.locator('dt:visible').all_text_contents() == ['model.field_42']
  tab.keyboard.press('Escape')
  assert not dialog.is_visible()
  assert tab.evaluate('document.activeElement.dataset.run') == '3'


def test_a_point_opens_its_run(small):
  tab = small
  tab.locator('#figure-response').scroll_into_view_if_needed()
  box = tab.locator('#figure-response .point').nth(4).bounding_box()
  tab.mouse.move(box['x'] + box['width'] / 2, box['y'] + box['height'] / 2 - 1)
  tab.mouse.move(box['x'] + box['width'] / 2, box['y'] + box['height'] / 2)
  tab.wait_for_selector('#figure-response .on-run')
  tab.mouse.down()
  tab.mouse.up()
  tab.wait_for_selector('dialog[open]')
  assert tab.locator('dialog h2').text_content() == 'Run 4'
  tab.locator('dialog .close').click()
  assert not tab.locator('dialog').is_visible()


def test_a_view_changes_its_figure(small):
  tab = small
  axis = "document.querySelector('#figure-response .plot')._fullLayout.xaxis.type"
  assert tab.evaluate(axis) == 'log'
  tab.locator('#figure-response [data-view="1"]').focus()
  tab.keyboard.press('Enter')
  until(tab, f"{axis} === 'linear'")
  assert tab.locator('#figure-response [data-view]').evaluate_all(
    'b => b.map(x => x.ariaPressed)'
  ) == ['false', 'true']
  tab.locator('#figure-response [data-view="0"]').click()
  until(tab, f"{axis} === 'log'")


def test_a_figure_downloads(small, report_of):
  report, tab, got = report_of(), small, {}
  for kind in ('png', 'svg', 'csv', 'json'):
    with tab.expect_download() as waiting:
      tab.locator(f'#figure-curves [data-save="{kind}"]').click()
    assert waiting.value.suggested_filename == f'curves.{kind}'
    with open(waiting.value.path(), 'rb') as file:
      got[kind] = file.read()
  assert (
    got['png'][:8] == b'\x89PNG\r\n\x1a\n'
    and b'<svg' in got['svg']
    and b'$' not in got['svg']
  )
  trace = report.figures()[1].data[0]
  saved = json.loads(got['json'])['data'][0]
  np.testing.assert_allclose(np.array(saved['y'], float), trace['y'], rtol=1e-6)
  lines = got['csv'].decode().split('\r\n')
  assert lines[0] == '"trace","x","y","z","run","text"' and len(lines) == 1 + len(
    trace['x']
  )
  assert lines[1].startswith('"runs",0,') and lines[62].split(',')[4] == '1'


def test_a_proposal_is_copied(small):
  tab = small
  tab.locator('.snippet .copy').click()
  until(tab, "document.querySelector('.copy').textContent === 'Copied'")
  assert 'Float(0.001, 0.1, log=True)' in tab.evaluate('navigator.clipboard.readText()')


def test_an_attack_stays_text(opened, report_of, attack):
  tab = opened(page.html(report_of(word=attack)))
  tab.locator('#trials button.run').first.click()
  assert attack in tab.locator('dialog').text_content()
  assert tab.evaluate('window.hacked') is None
  assert tab.locator('img').count() == 0 and tab.evaluate(DRAWN)


def test_nothing_is_wider_than_a_phone(opened, report_of):
  tab = opened(page.html(report_of(60)), (390, 844), has_touch=True, is_mobile=True)
  assert tab.evaluate('document.documentElement.scrollWidth') <= 390
  assert tab.locator('#figure-curves .main-svg').first.bounding_box()['width'] > 350
  tab.locator('#trials button.run').first.click()
  assert tab.locator('dialog').bounding_box()['width'] <= 390


def report_with(*figures):
  return page.html(Report('A study', ['.'], sections=[Section('s', 'S', figures)]))


def test_all_text_of_a_figure_is_inside_it_on_a_phone(opened, report_of):
  effects = [
    Effect('optimizer.learning_rate', 0.001, 0.002, 1.0, 0.5, 0.4, np.inf),
    Effect('schedule.warmup_fraction', 0.2, 0.4, 1.0, 0.05, 0.0, 0.2),
    Effect(
      'optimizer.weight_decay', reason='it has values at 4 points, and 8 are needed'
    ),
    Effect('schedule.name', reason='it cannot be told apart from the size of the runs'),
  ]
  figure = effects_figure(Runs('s', {}, {}, np.zeros(0), 'eval_loss_nats'), effects)
  figures = [figure, *report_of(60).figures()]
  tab = opened(report_with(*figures), (390, 844), has_touch=True, is_mobile=True)
  outside = """() => [...document.querySelectorAll('.plot text')].filter((text) => {
    const box = text.getBoundingClientRect();
    const figure = text.closest('.plot').getBoundingClientRect();
    return box.left < figure.left || box.right > Math.min(figure.right, innerWidth);
  }).map((text) => text.textContent)"""
  assert tab.locator('.plot text').count() > 20
  assert tab.evaluate(outside) == []


def test_the_right_side_of_a_wide_table_is_reached_on_a_phone(opened):
  columns = [Column(f'optimizer.learning_rate_{i}') for i in range(12)]
  table = Table('wide', 'W', columns, [range(12)])
  source = page.html(Report('A study', ['.'], sections=[Section('s', 'S', [table])]))
  tab = opened(source, (390, 844), has_touch=True, is_mobile=True)
  box = tab.locator('#table-wide .scroll')
  assert box.evaluate('box => box.scrollWidth') > 390
  box.evaluate('box => { box.scrollLeft = box.scrollWidth; }')
  last = box.locator('td').last.bounding_box()
  assert last['x'] + last['width'] <= 390
  assert tab.evaluate('document.documentElement.scrollWidth') <= 390


@pytest.mark.parametrize(
  'low, high, expected',
  [
    (0.26, 1.4, ['0.5', '1']),
    (0.02, 0.6, ['0.02', '0.05', '0.1', '0.2', '0.5']),
    (5e-5, 6e-4, ['0.00005', '0.0001', '0.0002', '0.0005']),
    (16, 512, ['20', '50', '100', '200', '500']),
    (0.3, 0.9, ['0.3', '0.4', '0.5', '0.6', '0.7', '0.8', '0.9']),
  ],
)
def test_ticks_of_a_log_axis_are_numbers_as_people_write_them(
  opened, low, high, expected
):
  values = np.geomspace(low, high, 9)
  axis = with_range(plot_axis('x', True, values), values)
  trace = {'type': 'scatter', 'mode': 'markers', 'x': values, 'y': values}
  figure = Figure('ticks', 'T', 'C.', [trace], layout(axis, plot_axis('y')))
  tab = opened(report_with(figure), (390, 844), has_touch=True, is_mobile=True)
  assert tab.locator('#figure-ticks .xtick text').all_text_contents() == expected


def test_the_keyboard_reaches_the_content_first_and_a_figure_follows_its_window(
  opened, report_of
):
  tab = opened(page.html(report_of()))
  tab.keyboard.press('Tab')
  assert tab.evaluate('document.activeElement.className') == 'skip'
  tab.keyboard.press('Enter')
  assert tab.evaluate('document.activeElement.id') == 'content'
  tab.keyboard.press('Tab')
  assert (
    tab.evaluate('getComputedStyle(document.activeElement).outlineStyle') == 'solid'
  )
  tab.set_viewport_size({'width': 700, 'height': 900})
  until(
    tab,
    "document.querySelector('#figure-curves .main-svg').getBoundingClientRect().width < 700",
  )


def test_on_paper_all_is_unfolded_and_light(opened, report_of):
  tab = opened(page.html(report_of()), color_scheme='dark')
  tab.evaluate("dispatchEvent(new Event('beforeprint'))")
  fill = "getComputedStyle(document.querySelector('#figure-response .point')).fill"
  until(tab, f"{fill} === 'rgb(0, 114, 178)'")
  assert tab.locator('details:not([open])').count() == 0
  tab.evaluate("dispatchEvent(new Event('afterprint'))")
  until(tab, f"{fill} === 'rgb(99, 179, 237)'")
  assert tab.locator('#about:not([open])').count() == 1


def test_the_same_page_in_a_notebook(opened, report_of):
  outside = '<!doctype html><script>window.lmhpReady = true</script>' + page.inline(
    report_of()
  )
  tab = opened(outside)
  frame = tab.frames[1]
  assert frame.evaluate('window.lmhpReady') and frame.evaluate(DRAWN)
  frame.locator('#trials button.run').first.click()
  assert frame.locator('dialog h2').text_content() == 'Run 0'


def test_a_thousand_runs_are_drawn_soon(opened, report_of, record_property):
  """Measures the time of the main thread, which other processes do not change."""
  tab = opened(page.html(report_of(1000, 60)))
  session = tab.context.new_cdp_session(tab)
  session.send('Performance.enable', {'timeDomain': 'threadTicks'})
  tab.reload()
  assert tab.evaluate('window.lmhpReady')
  measured = {
    m['name']: m['value'] for m in session.send('Performance.getMetrics')['metrics']
  }
  marks = dict(
    tab.evaluate(
      "performance.getEntriesByType('mark').map(m => [m.name, m.startTime / 1000])"
    )
  )
  record_property('wall_seconds', max(marks.values()))
  assert (
    set(marks) == {'drawn response', 'drawn curves'} and 0 < measured['ThreadTime'] < 3
  )
