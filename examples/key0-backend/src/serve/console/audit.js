// What was done, to which key or purchase, and by whom.

import { call, commands, isMaster, shell } from './api.js';
import { announce, button, empty, fault, field, foreign, h, mono, table, time } from './dom.js';

/** How many rows are drawn at a time, and how far back it begins. */
const STEP = 200;
const DAYS = 30;

const COLUMNS = ['at', 'action', 'kind', 'id', 'display', 'label', 'actor', 'actorId', 'reason'];
const cells = (event) => COLUMNS.map((of) => event[of] ?? '');

/** The query of the next page, while there may be one. */
export function nextPage(response) {
  const link = /<\?([^>]*)>\s*;\s*rel="?next\b/.exec(response.headers.get('Link') ?? '');
  return link && Object.fromEntries(new URLSearchParams(link[1]));
}

/** A cell of a CSV file. What a spreadsheet would take for a formula is made a text. */
const csvCell = (text) => `"${(/^[=+\-@\t\r]/.test(text) ? `'${text}` : text).replaceAll('"', '""')}"`;

export function list(params, view) {
  const begin = params.get('since') ?? new Date(Date.now() - DAYS * 86_400_000).toISOString().slice(0, 10);
  // Cleared, it means from the beginning.
  const since = h('input', { type: 'date', value: begin, change: () => { location.hash = `#/audit?since=${since.value}`; } });
  const filter = h('input', { type: 'text', placeholder: 'key, name, action', input: () => { room = STEP; draw(); } });
  const { whole, body } = table('Audit, oldest first', [['When', 'mid'], ['What'], ['On what'], ['By whom', 'mid actor'], ['Why', 'wide']]);
  const foot = h('div', { class: 'foot' });
  const query = { since: begin ? `${begin.slice(0, 10)}T00:00:00.000Z` : '', limit: '1000' };
  const events = [];
  /** What to ask for next; nothing at the end. */
  let next = query;
  /** How many rows are drawn: all that were fetched would make each stroke of a key slow. */
  let room = STEP;
  const fitting = () => events.filter((event) => cells(event).join(' ').toLowerCase().includes(filter.value.trim().toLowerCase()));
  const save = async () => {
    // A file that says nothing of its gaps has none.
    while (next) if (!(await load())) return;
    const rows = [COLUMNS, ...fitting().map(cells)];
    const file = new Blob([rows.map((row) => row.map(csvCell).join(',')).join('\r\n')], { type: 'text/csv' });
    const url = URL.createObjectURL(file);
    h('a', { href: url, download: 'audit.csv' }).click();
    setTimeout(() => URL.revokeObjectURL(url), 10_000);
  };
  const csv = button('Save as CSV', save);
  function draw() {
    const rows = fitting();
    body.replaceChildren(...rows.slice(0, room).map(row));
    whole.hidden = csv.hidden = rows.length === 0;
    const left = next || rows.length > room;
    const told = `${Math.min(room, rows.length)} events${left ? ' so far' : ''}`;
    announce(told);
    foot.replaceChildren(rows.length ? h('span', { class: 'muted' }, told) : empty(next ? 'None so far.' : events.length ? 'No event contains this text.' : 'Nothing has been done since then.'), left ? button('Show more', more) : '');
  }
  async function more() {
    room += STEP;
    if (next && fitting().length < room) await load();
    else draw();
  }
  let loading;
  /** The same answer for all who ask meanwhile: a page that came twice would be told twice. */
  function load() {
    loading ??= fetchMore().finally(() => { loading = undefined; });
    return loading;
  }
  async function fetchMore() {
    foot.replaceChildren(h('span', { class: 'muted' }, 'Loading…'));
    try {
      const before = events.length;
      // Before the end a page can be empty.
      while (next && events.length === before) {
        let following;
        const text = await call('GET', '/audit', { query: next, signal: view.signal, kind: 'text', more: (response) => { following = nextPage(response); } });
        events.push(...text.split('\n').filter(Boolean).map((one) => JSON.parse(one)));
        next = following;
      }
      draw();
      return true;
    } catch (error) {
      if (view.signal.aborted) return false;
      whole.hidden = csv.hidden = events.length === 0;
      if (error.status === 404) {
        foot.replaceChildren(empty('This backend offers no audit. Each key\'s own history is on its page.'));
      } else foot.replaceChildren(fault(error instanceof SyntaxError ? { title: 'GET /audit answered with something that is no JSON.', message: 'Is a proxy or another program in between?' } : error, load));
      return false;
    }
  }
  const out = isMaster() ? null : 'The audit is for master keys.';
  if (out) foot.append(empty(out));
  else load();
  whole.hidden = csv.hidden = true;
  return [h('div', { class: 'title' }, h('h1', {}, 'Audit'), csv),
    h('div', { class: 'filters', role: 'group', 'aria-label': 'Filters' }, field('Since (UTC)', since), field('Contains', filter)),
    whole, foot, commands(['GET', '/audit', { query }], `audit${query.since ? ` --since=${shell(query.since)}` : ''}`)];
}

const PATHS = { key: 'keys', purchase: 'purchases' };

function row(event) {
  const { at, action, kind, id, display, label, actor, reason } = event;
  const of = label ? foreign(label) : mono(display ?? id);
  const on = PATHS[kind] ? h('a', { href: `#/${PATHS[kind]}/${encodeURIComponent(id)}` }, of) : of;
  return h('tr', {},
    h('td', { class: 'mid' }, time(at)),
    h('th', { scope: 'row', class: 'short' }, action, h('small', { class: 'narrow' }, time(at))),
    h('td', {}, on, h('small', {}, kind), h('small', { class: 'narrow' }, 'by ', foreign(actor))),
    h('td', { class: 'mid actor' }, foreign(actor)),
    h('td', { class: 'wide' }, foreign(reason ?? '')));
}
