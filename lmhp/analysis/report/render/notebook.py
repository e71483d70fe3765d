"""A report in a notebook: the page in a sandboxed frame."""

from __future__ import annotations

from lmhp.analysis.report.document import Report
from lmhp.analysis.report.render import html as page
from lmhp.analysis.report.render.html_elements import escape

HEIGHT = 760
"""Height of the frame in pixels, about that of a laptop's screen below a notebook's bars."""


def inline(report: Report, height: int = HEIGHT) -> str:
  """Returns the page in a frame without an origin, so that it cannot read cookies.

  Args:
    report: Content of the report.
    height: Height of the frame in pixels. A reader may resize it.
  """
  source = page.html(report).replace('&', '&amp;').replace('"', '&#34;')
  return (
    f'<iframe title="{escape(report.title)}" sandbox="allow-scripts allow-downloads" '
    f'srcdoc="{source}" style="width:100%;height:{int(height)}px;border:0;'
    'resize:vertical;overflow:auto" loading="lazy"></iframe>'
  )
