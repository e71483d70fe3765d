"""Takes the pictures of a report that the documentation shows.

    lmhp sweep --config=experiments/learning_rate.py --workdir=runs/learning_rate
    python docs/images/screenshots.py runs/learning_rate/report.html

It needs the extra `browser` and Chromium.
"""

from __future__ import annotations

import pathlib
import shutil
import sys

from playwright import sync_api

FOLDER = pathlib.Path(__file__).parent
WIDTH = 1000


def main(report: str) -> None:
  """Writes the pictures beside this file.

  Args:
    report: Path of a report.html.
  """
  with sync_api.sync_playwright() as playwright:
    chromium = shutil.which('chromium') or shutil.which('google-chrome')
    browser = playwright.chromium.launch(
      executable_path=chromium, args=['--no-sandbox']
    )
    page = browser.new_page(viewport={'width': WIDTH, 'height': 900})
    page.goto(pathlib.Path(report).absolute().as_uri())
    page.screenshot(path=FOLDER / 'report.png')

    # The response to the hyperparameter with the smallest p-value, the learning rate.
    page.locator('#figure-response-0').screenshot(path=FOLDER / 'response.png')
    browser.close()


if __name__ == '__main__':
  main(sys.argv[1])
