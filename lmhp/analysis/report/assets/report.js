'use strict';
// Sortable tables, the config of a run, and copy buttons. Text is only set as textContent.
(() => {
  const configs = JSON.parse(document.getElementById('data-configs').textContent);
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];
  const make = (tag, text, attributes = {}) => {
    const node = document.createElement(tag);
    if (text !== undefined) node.textContent = text;
    for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
    return node;
  };

  // ---- Tables: sorted by a column, missing values last; a page of rows is shown at a time.
  for (const box of all('.table')) {
    const table = box.querySelector('table'), body = table.tBodies[0], heads = all('th', table);
    const size = Number(table.dataset.page), thousands = (n) => n.toLocaleString('en');
    const rows = [...body.rows], search = box.querySelector('input'), status = box.querySelector('.rows');
    rows.forEach((row) => { row.hidden = false; });
    let shown = size, by = -1, down = false;
    const key = (row) => {
      const cell = row.cells[by];
      if (heads[by].dataset.kind !== 'text') return 'v' in cell.dataset ? Number(cell.dataset.v) : cell.textContent;
      return cell.textContent;
    };
    const compare = (a, b) => {
      const missing = (v) => v === '–' || v === '';
      if (missing(a) || missing(b)) return missing(a) - missing(b);
      const order = typeof a === 'number' && typeof b === 'number' ? a - b
        : String(a).localeCompare(String(b), 'en', { numeric: true });
      return down ? -order : order;
    };
    const show = () => {
      const words = (search ? search.value : '').toLowerCase().split(/\s+/).filter(Boolean);
      let found = words.length ? rows.filter((row) => {
        const text = row.textContent.toLowerCase();
        return words.every((word) => text.includes(word));
      }) : [...rows];
      if (by >= 0) {
        found = found.map((row) => [key(row), row]).sort((a, b) => compare(a[0], b[0])).map((pair) => pair[1]);
      }
      body.replaceChildren(...found.slice(0, shown));
      status.replaceChildren();
      if (rows.length <= size && !words.length) return;
      const match = words.length ? ` that match, of ${thousands(rows.length)}` : '';
      const n = thousands(Math.min(shown, found.length));
      status.append(make('span', `${n} of ${thousands(found.length)} rows${match}`));
      if (found.length <= shown) return;
      for (const [text, next] of [[`Show ${size} more`, shown + size], ['Show all', rows.length]]) {
        const more = make('button', text, { type: 'button' });
        more.addEventListener('click', () => { shown = next; show(); });
        status.append(more);
      }
    };
    heads.forEach((head, place) => head.querySelector('button').addEventListener('click', () => {
      [by, down] = by !== place ? [place, false] : down ? [-1, false] : [place, true];
      heads.forEach((h, i) => h.setAttribute('aria-sort', i !== by ? 'none' : down ? 'descending' : 'ascending'));
      show();
    }));
    if (search) search.addEventListener('input', () => { shown = size; show(); });
    show();
  }

  // ---- Config of a run.
  const dialog = document.getElementById('run');
  let opener = null;
  const list = (pairs, title) => {
    const part = make('section'), names = make('dl');
    for (const [path, value] of pairs) {
      const row = make('div');
      row.append(make('dt', path), make('dd', value));
      names.append(row);
    }
    part.append(make('h3', title), names);
    return part;
  };
  const openRun = (number) => {
    const own = configs.runs[number];
    if (!own) return;
    const [differs, absent] = own, without = new Set(absent);
    const same = Object.entries(configs.most).filter(([path]) => !(path in differs) && !without.has(path));
    const head = make('div', undefined, { class: 'run-head' }), bar = make('div', undefined, { class: 'bar' });
    const body = make('div', undefined, { class: 'run-body' });
    const search = make('input', undefined, { type: 'search', placeholder: 'Filter', 'aria-label': 'Filter config' });
    const copying = make('button', 'Copy', { type: 'button', class: 'copy' });
    const close = make('button', 'Close', { type: 'button', class: 'close' });
    bar.append(search, copying);
    head.append(make('h2', `Run ${number}`, { id: 'run-title' }), close, bar);
    if (Object.keys(differs).length) body.append(list(Object.entries(differs), 'Different from most runs'));
    body.append(list(same, 'Same as most runs'));
    search.addEventListener('input', () => {
      const wanted = search.value.toLowerCase();
      all('dl > div', body).forEach((row) => { row.hidden = !row.textContent.toLowerCase().includes(wanted); });
    });
    copying.addEventListener('click', () => {
      copy([...Object.entries(differs), ...same].map(([path, value]) => `${path}: ${value}`).join('\n'), copying);
    });
    close.addEventListener('click', () => dialog.close());
    opener = document.activeElement;
    dialog.replaceChildren(head, body);
    dialog.showModal();
    dialog.scrollTop = 0;
    search.focus();
  };
  dialog.addEventListener('close', () => { if (opener && opener.isConnected) opener.focus(); });
  dialog.addEventListener('keydown', (event) => {  // without this, the first Escape would only clear the search
    if (event.key === 'Escape') { event.preventDefault(); dialog.close(); }
  });
  dialog.addEventListener('click', (event) => { if (event.target === dialog) dialog.close(); });
  document.addEventListener('click', (event) => {
    const button = event.target.closest('button.run');
    if (button) openRun(Number(button.dataset.run));
  });
  document.addEventListener('lmhp-run', (event) => openRun(Number(event.detail)));  // a click on a point of a figure

  // ---- Copy. A frame without an origin has no clipboard API, so execCommand is the fallback.
  const copy = async (text, button) => {
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      const area = make('textarea', undefined, { readonly: '', style: 'position:fixed;opacity:0' });
      area.value = text;
      button.after(area);
      area.select();
      document.execCommand('copy');
      area.remove();
      button.focus();
    }
    const said = button.textContent;
    button.textContent = 'Copied';
    setTimeout(() => { button.textContent = said; }, 1500);
  };
  for (const button of all('.snippet .copy')) {
    button.addEventListener('click', () => copy(button.parentNode.querySelector('code').textContent, button));
  }
})();
