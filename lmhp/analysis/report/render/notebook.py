"""A report inside a notebook: the same page, in a frame that may run its scripts and nothing else of the notebook's."""

from __future__ import annotations

from lmhp.analysis.report.document import Report
from lmhp.analysis.report.render import html as page
from lmhp.analysis.report.render.html_parts import escape

HEIGHT = 760  # pixels: of a laptop's screen what is left under a notebook's bars


def inline(report: Report, height: int = HEIGHT) -> str:
  """What `_repr_html_` returns: the page in a sandboxed frame, without an origin, so that it reaches no cookie.

  Args:
    report: what it says.
    height: of the frame, pixels; a reader may drag it.
  """
  source = page.html(report).replace('&', '&amp;').replace('"', '&#34;')
  return (
    f'<iframe title="{escape(report.title)}" sandbox="allow-scripts allow-downloads" srcdoc="{source}" '
    f'style="width:100%;height:{int(height)}px;border:0;resize:vertical;overflow:auto" loading="lazy"></iframe>'
  )
