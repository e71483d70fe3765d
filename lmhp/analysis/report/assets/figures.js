'use strict';
// Figures in the theme of the reader. They are drawn when they come near, or when the page is idle.
(() => {
  const page = JSON.parse(document.getElementById('data-figures').textContent);
  const root = document.documentElement;
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];

  // ---- Theme: that of the system, unless the button was used in this tab.
  const systemDark = matchMedia('(prefers-color-scheme: dark)');
  const theme = () => root.dataset.theme || (systemDark.matches ? 'dark' : 'light');
  const stored = (change) => { try { return change(sessionStorage); } catch { return null; } };  // a sandbox has no storage
  const chosen = stored((s) => s.getItem('lmhp-theme'));
  if (chosen) root.dataset.theme = chosen;
  document.getElementById('theme').addEventListener('click', () => {
    root.dataset.theme = theme() === 'dark' ? 'light' : 'dark';
    stored((s) => s.setItem('lmhp-theme', root.dataset.theme));
    redraw();
  });
  systemDark.addEventListener('change', () => redraw());

  // ---- Figures: colours are tokens ('$blue', '$blue/0.3') until a theme resolves them.
  const colour = (token) => {
    const [, name, alpha] = /^\$(\w+)(?:\/([\d.]+))?$/.exec(token) || [];
    const hex = page.palettes[printing ? 'light' : theme()][name];
    if (!hex) return token;
    return alpha ? `rgba(${[1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16)).join()},${alpha})` : hex;
  };
  const painted = (value, key = '') => {
    if (Array.isArray(value)) return value.map((v) => painted(v, key));
    if (value && typeof value === 'object') {
      return Object.fromEntries(Object.entries(value).map(([k, v]) => [k, painted(v, k)]));
    }
    return typeof value === 'string' && key.includes('color') ? colour(value) : value;
  };
  const nested = (value) => value && typeof value === 'object' && !Array.isArray(value) && !('bdata' in value);
  const merged = (base, change) => {
    const out = { ...base };
    for (const [k, v] of Object.entries(change || {})) out[k] = nested(v) && nested(out[k]) ? merged(out[k], v) : v;
    return out;
  };
  const coarse = matchMedia('(pointer: coarse)').matches;
  let printing = false;
  const looks = (figure) => {
    const view = figure.views[figure.view] || {};
    const data = figure.data.map((trace, i) => merged(trace, (view.data || [])[i]));
    const layout = painted({ ...merged(figure.layout, view.layout), height: figure.height, uirevision: figure.view });
    const titled = { title: { font: { size: 13, color: colour('$muted') } } };  // Plotly's default is a fifth larger
    layout.template = { layout: { xaxis: titled, yaxis: titled } };
    if (figure.box.clientWidth < 520) {
      layout.font = { ...layout.font, size: 11 };
      const { l = 56 } = layout.margin || {};
      layout.margin = { ...layout.margin, l: Math.min(l, 46) };  // the right one has room for half of the last tick's label
    }
    if (coarse) layout.dragmode = false;  // a finger scrolls the page
    if (printing) Object.assign(layout, { autosize: false, width: 680 });
    return { data: painted(data), layout };
  };
  const options = { displayModeBar: false, displaylogo: false, showTips: false };
  const draw = async (figure) => {
    waiting.delete(figure);
    const { data, layout } = looks(figure);
    try {
      const first = !figure.box.dataset.drawn;
      figure.width = figure.box.clientWidth;
      figure.box.dataset.drawn = 'yes';
      await Plotly.react(figure.box, data, layout, options);
      if (first) listen(figure);
      performance.mark(`drawn ${figure.id}`);
    } catch (error) {
      figure.box.classList.add('failed');
      figure.box.textContent = `This figure could not be drawn: ${error.message}`;
    }
  };
  const listen = (figure) => {
    const run = (event) => {
      const point = event.points.find((p) => p.data.meta === 'run');
      return point && [point.customdata].flat()[0];
    };
    figure.box.on('plotly_click', (event) => { 
      if (run(event) !== undefined) document.dispatchEvent(new CustomEvent('lmhp-run', { detail: run(event) }));
    });
    figure.box.on('plotly_hover', (event) => figure.box.classList.toggle('on-run', run(event) !== undefined));
    figure.box.on('plotly_unhover', () => figure.box.classList.remove('on-run'));
  };
  const figures = page.figures.map((figure) => ({ ...figure, view: 0 }));
  const waiting = new Set(figures);
  const redraw = () => Promise.all(figures.filter((f) => f.box.dataset.drawn).map(draw));
  const near = new IntersectionObserver((seen) => {
    for (const entry of seen) {
      const figure = figures.find((f) => f.box === entry.target);
      if (entry.isIntersecting && waiting.has(figure)) draw(figure);
    }
  }, { rootMargin: '300px 0px' });
  const sized = new ResizeObserver((seen) => {  // Plotly itself reacts to the window only
    for (const figure of figures.filter((f) => seen.some((entry) => entry.target === f.box))) {
      const width = figure.box.clientWidth;
      if (!figure.width || !width || width === figure.width || printing) continue;
      figure.width = width;
      Plotly.Plots.resize(figure.box);
    }
  });
  for (const figure of figures) {
    const place = all('figure').find((f) => f.dataset.figure === figure.id);
    figure.box = place.querySelector('.plot');
    near.observe(figure.box);
    sized.observe(figure.box);
    for (const button of all('[data-view]', place)) {
      button.addEventListener('click', () => {
        figure.view = Number(button.dataset.view);
        all('[data-view]', place).forEach((b) => b.setAttribute('aria-pressed', String(b === button)));
        draw(figure);
      });
    }
    for (const button of all('[data-save]', place)) {
      button.addEventListener('click', () => save(figure, button.dataset.save));
    }
  }
  const idle = window.requestIdleCallback || ((work) => setTimeout(work, 30));
  window.lmhpReady = new Promise((resolve) => {
    const next = async () => {
      const [figure] = waiting;
      if (!figure) return resolve(true);
      await draw(figure);
      idle(next, { timeout: 300 });
    };
    // Figures on the first screen are drawn first: their observer fires after the first frame.
    requestAnimationFrame(() => setTimeout(() => idle(next, { timeout: 300 }), 50));
  });

  // ---- Downloads.
  const bytes = { i1: Int8Array, u1: Uint8Array, i2: Int16Array, u2: Uint16Array, i4: Int32Array, u4: Uint32Array,
    f4: Float32Array, f8: Float64Array };
  const unpacked = (value) => {
    if (Array.isArray(value)) return value.map(unpacked);
    if (!value || typeof value !== 'object') return value;
    if (!('bdata' in value)) return Object.fromEntries(Object.entries(value).map(([k, v]) => [k, unpacked(v)]));
    const raw = Uint8Array.from(atob(value.bdata), (c) => c.charCodeAt(0)).buffer;
    return Array.from(new bytes[value.dtype](raw), (v) => (Number.isFinite(v) ? v : null));
  };
  // A spreadsheet reads a text that starts with = as a formula.
  const quoted = (v) => (v === null || v === undefined ? '' : typeof v === 'number' ? String(v)
    : `"${String(v).replace(/^[=+\-@\t\r]/, "'$&").replace(/"/g, '""')}"`);
  const csv = (data) => {
    const rows = [['trace', 'x', 'y', 'z', 'run', 'text']];
    data.forEach((trace, place) => {
      const at = (key, i) => (Array.isArray(trace[key]) ? trace[key][i] : undefined);
      const run = (i) => (trace.meta === 'run' ? [at('customdata', i)].flat()[0] : undefined);
      const name = trace.name || `trace ${place}`;
      if (Array.isArray(trace.z)) {
        trace.z.forEach((line, j) => [line].flat().forEach((z, i) => rows.push([name, at('x', i), at('y', j), z])));
      } else {
        for (let i = 0; i < Math.max((trace.x || []).length, (trace.y || []).length); i++) {
          rows.push([name, at('x', i), at('y', i), undefined, run(i), at('text', i)]);
        }
      }
    });
    return rows.map((row) => row.map(quoted).join(',')).join('\r\n');
  };
  const download = (href, name) => Object.assign(document.createElement('a'), { href, download: name }).click();
  const save = async (figure, kind) => {
    const { data, layout } = looks(figure), name = `${figure.id}.${kind}`;
    if (kind === 'csv' || kind === 'json') {
      const own = unpacked(data);
      const text = kind === 'csv' ? csv(own)
        : JSON.stringify({ title: figure.title, caption: figure.caption, data: own, layout: unpacked(layout) });
      const href = URL.createObjectURL(new Blob([text], { type: kind === 'csv' ? 'text/csv' : 'application/json' }));
      download(href, name);
      return setTimeout(() => URL.revokeObjectURL(href), 10000);
    }
    const title = figure.title.replace(/&/g, '&amp;').replace(/</g, '&lt;').replace(/>/g, '&gt;');
    const framed = { ...layout, paper_bgcolor: colour('$paper'), title: { text: title, x: 0.02, xanchor: 'left' },
      margin: { ...layout.margin, t: 60 } };
    download(await Plotly.toImage({ data, layout: framed },
      { format: kind, width: 1000, height: figure.height + 40, scale: kind === 'png' ? 2 : 1 }), name);
  };

  // ---- Print: all figures on white, and all folded parts.
  let unfolded = [];
  addEventListener('beforeprint', () => {
    printing = true;
    figures.forEach(draw);
    unfolded = all('details:not([open])');
    unfolded.forEach((fold) => { fold.open = true; });
  });
  addEventListener('afterprint', () => {
    printing = false;
    figures.forEach(draw);
    unfolded.forEach((fold) => { fold.open = false; });
  });
})();
