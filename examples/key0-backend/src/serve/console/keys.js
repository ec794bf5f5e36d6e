// Keys: the list, and one key.

import { call, commands, isMaster, refused, setFilter, shell } from './api.js';
import { create, edit, revoke, rotate, several, suspend } from './changes.js';
import { announce, button, empty, fact, fault, field, foreign, h, mono, select, table, time } from './dom.js';
import { linkTo, name, rights, stateOf, statePill } from './key.js';
import { refusalsOf } from './refusals.js';

const DAY = 86_400_000;
/** How many matching keys are shown at a time, and how many pages are looked through for them. */
const SHOWN = 50;
const PAGES = 10;

const STATES = [['', 'Active'], ['all', 'Any state'], ['suspended', 'Suspended'], ['expired', 'Expired'], ['revoked', 'Revoked']];
const KINDS = [['', 'Partner keys'], ['payment', 'Payment keys']];
const ROLES = [['', 'Any rights'], ['read', 'read'], ['minter', 'minter'], ['support', 'support'], ['master', 'master'], ['own', 'Own permissions']];
const USES = [['', 'Any time'], ['30', 'Idle for 30 days'], ['90', 'Idle for 90 days'], ['365', 'Idle for a year']];
const ENDS = [['', 'Any'], ['never', 'Never'], ['soon', 'Within 14 days']];

function matches(key, { state, role, ends }) {
  if (state && state !== 'all' && stateOf(key) !== state) return false;
  if (role === 'own' ? !key.permissions : role && (key.role !== role || key.permissions)) return false;
  if (ends === 'never' && (key.expiresAt || key.unreadable)) return false;
  if (ends === 'soon') {
    const left = key.expiresAt ? Date.parse(key.expiresAt) - Date.now() : -1;
    return left > 0 && left <= 14 * DAY;
  }
  return true;
}

/** The list. What the server can't filter by is filtered here, page by page. */
export function list(params, view) {
  const filters = Object.fromEntries(['kind', 'state', 'role', 'idle', 'ends', 'label'].map((of) => [of, params.get(of) ?? '']));
  const change = (of) => (event) => setFilter('keys', params, of, event.target);
  const label = h('input', { type: 'text', value: filters.label, maxlength: 200, dir: 'auto', placeholder: 'exact label', change: change('label') });
  const picked = new Set();
  const selection = h('div', { class: 'selection', role: 'group', 'aria-label': 'What to do with the selected keys' });
  const all = h('input', { type: 'checkbox', 'aria-label': 'Select every key shown' });
  const { whole, body } = table('Keys, newest first', [...(isMaster() ? [['Select', 'pick']] : []), ['Key'], ['Rights', 'mid'], ['State'], ['Created', 'wide'], ['Last used', 'roomy'], ['Expires', 'wide']]);
  if (isMaster()) whole.querySelector('th').replaceChildren(all);
  const foot = h('div', { class: 'foot' });
  const query = {
    kind: filters.kind,
    status: filters.state ? 'all' : '',
    label: filters.label,
    idleDays: filters.idle,
    limit: String(filters.role || filters.ends || !['', 'all'].includes(filters.state) ? 1000 : 100),
  };
  const cli = ['keys list', filters.kind && '--kind payment', filters.state && '--all', filters.label && `--label=${shell(filters.label)}`, filters.idle && `--idle=${shell(filters.idle)}`];
  let cursor = '';
  let looked = 0;
  const rows = new Map();
  const creators = creatorsOf(view);

  const drawSelection = () => {
    const some = [...picked].map((id) => rows.get(id));
    selection.replaceChildren(
      h('span', {}, picked.size ? `${picked.size} selected` : 'Select keys to change several at once.'),
      ...(picked.size ? [
        button('Suspend', () => several('Suspend', some, view.again), { tone: 'small' }),
        button('Resume', () => several('Resume', some, view.again), { tone: 'small' }),
        button('Revoke', () => several('Revoke', some, view.again), { tone: 'small danger' }),
      ] : []));
  };
  const row = (key) => {
    const box = h('input', { type: 'checkbox', 'aria-label': `Select ${key.label ?? key.display ?? key.id}` });
    box.addEventListener('change', () => {
      if (box.checked) picked.add(key.id);
      else picked.delete(key.id);
      drawSelection();
    });
    rows.set(key.id, { key, box });
    if (key.unreadable) {
      return h('tr', {}, isMaster() && h('td', { class: 'pick' }, box), h('th', { scope: 'row' }, linkTo(key.id, mono(key.id)), h('small', {}, 'this version can\'t read the record')), h('td', { class: 'mid' }, '–'), h('td', {}, statePill(key)), h('td', { class: 'wide' }, time(key.createdAt)), h('td', { class: 'roomy' }, '–'), h('td', { class: 'wide' }, '–'));
    }
    return h('tr', {},
      isMaster() && h('td', { class: 'pick' }, box),
      h('th', { scope: 'row' }, linkTo(key.id, name(key)), h('small', {}, mono(key.display))),
      h('td', { class: 'mid rights' }, rights(key)),
      h('td', {}, statePill(key)),
      h('td', { class: 'wide' }, time(key.createdAt), creators(key.id)),
      h('td', { class: 'roomy' }, key.lastUsedAt ? time(key.lastUsedAt) : h('span', { class: 'muted' }, 'never')),
      h('td', { class: 'wide' }, key.expiresAt ? time(key.expiresAt) : h('span', { class: 'muted' }, 'never')));
  };
  all.addEventListener('change', () => {
    for (const [id, { box }] of rows) {
      box.checked = all.checked;
      if (all.checked) picked.add(id);
      else picked.delete(id);
    }
    drawSelection();
  });

  const more = async () => {
    foot.replaceChildren(h('span', { class: 'muted' }, 'Loading…'));
    try {
      let found = 0;
      for (let page = 0; page < PAGES && found < SHOWN; page++) {
        const answer = await call('GET', '/keys', { query: { ...query, cursor }, signal: view.signal });
        looked += answer.keys.length;
        const fitting = answer.keys.filter((key) => matches(key, filters));
        body.append(...fitting.map(row));
        found += fitting.length;
        cursor = answer.nextCursor ?? '';
        if (!cursor) break;
      }
      const told = `${rows.size} ${rows.size === 1 ? 'key' : 'keys'}${cursor ? ' so far' : ''}${looked > rows.size ? `, of ${looked} looked at` : ''}`;
      announce(told);
      whole.hidden = rows.size === 0;
      foot.replaceChildren(
        rows.size || cursor ? h('span', { class: 'muted' }, told)
          : empty(params.size ? 'No key matches. Remove a filter.' : 'No partner has an active key yet.',
            isMaster() && !params.size && button('Create the first one', () => create(view.again), { tone: 'primary' })),
        ...(cursor ? [button(found ? 'Show more' : 'Look further', more)] : []));
    } catch (error) {
      if (!view.signal.aborted) foot.replaceChildren(fault(error, more));
    }
  };
  drawSelection();
  more();
  return [
    h('div', { class: 'title' }, h('h1', {}, 'Keys'), button('Create a key', () => create(view.again), { tone: 'primary', refused: refused() })),
    h('div', { class: 'filters', role: 'group', 'aria-label': 'Filters' },
      field('Kind', select(KINDS, filters.kind, change('kind'))),
      field('State', select(STATES, filters.state, change('state'))),
      field('Rights', select(ROLES, filters.role, change('role'))),
      field('Last used', select(USES, filters.idle, change('idle'))),
      field('Expires', select(ENDS, filters.ends, change('ends'))),
      field('Label', label)),
    isMaster() && selection,
    whole, foot,
    commands(['GET', '/keys', { query }], cli.filter(Boolean).join(' ')),
  ];
}

/**
 * Who made a key, as a line that fills itself once it comes into sight: lists do not tell, each key's
 * own history does.
 */
function creatorsOf(view) {
  const ids = new Map();
  const ask = async (line) => {
    try {
      const { history } = await call('GET', `/keys/${encodeURIComponent(ids.get(line))}`, { signal: view.signal });
      line.replaceChildren('by ', foreign(creation(history)?.by ?? 'unknown'));
    } catch { line.replaceChildren('by –'); }
  };
  // One after another, so that they are in nobody's way.
  let queue = Promise.resolve();
  const sight = new IntersectionObserver((seen) => {
    for (const { target, isIntersecting } of seen) {
      if (!isIntersecting) continue;
      sight.unobserve(target);
      queue = queue.then(() => view.signal.aborted || ask(target));
    }
  });
  view.signal.addEventListener('abort', () => sight.disconnect());
  return (id) => {
    const line = h('small', {}, 'by …');
    ids.set(line, id);
    sight.observe(line);
    return line;
  };
}

const creation = (history) => history.find(({ action }) => action === 'created');

/** One key. */
export async function show(id, view) {
  const key = await call('GET', `/keys/${encodeURIComponent(id)}`, { signal: view.signal });
  const state = stateOf(key);
  const over = state === 'revoked' || state === 'expired';
  const managed = key.role === 'master' || key.role === 'support';
  const why = (more) => refused() ?? (managed ? 'The key of a master or of support is changed on the host alone: key0-backend keys.' : more) ?? null;
  const revoked = state === 'revoked' ? 'It is revoked already.' : null;
  const reasons = {
    edit: why(revoked),
    suspend: why(revoked),
    rotate: why(key.kind === 'payment' ? 'Only a partner\'s key can be rotated.' : over ? 'It is over: create another one.' : null),
    revoke: refused() ?? revoked,
  };
  const suspended = Boolean(key.suspendedAt);
  const note = [...new Set(Object.values(reasons).filter(Boolean))];
  const old = key.predecessor && Date.parse(key.predecessor.until) > Date.now() ? key.predecessor : null;
  return [
    h('p', { class: 'crumbs' }, h('a', { href: '#/keys' }, 'Keys')),
    h('div', { class: 'title' }, h('h1', {}, key.label ? foreign(key.label) : mono(key.display)), statePill(key)),
    h('div', { class: 'actions start', role: 'group', 'aria-label': 'What to do with this key' },
      button('Edit', () => edit(key, view.again), { refused: reasons.edit }),
      button(suspended ? 'Resume' : 'Suspend', () => suspend(key, !suspended, view.again), { refused: reasons.suspend }),
      button('Rotate', () => rotate(key, view.again), { refused: reasons.rotate }),
      button('Revoke', () => revoke(key, view.again), { tone: 'danger', refused: reasons.revoke })),
    note.length > 0 && h('p', { class: 'muted' }, note.join(' ')),
    h('section', { class: 'card' }, h('h2', {}, 'Details'), h('dl', {},
      fact('Shown as', mono(key.display)),
      fact('Id', mono(key.id)),
      fact('Kind', key.kind === 'payment' ? 'payment key' : 'partner key'),
      fact('Opens', rights(key)),
      fact('Created', time(key.createdAt)),
      fact('Created by', creation(key.history) && mono(creation(key.history).by)),
      fact('Last used', key.lastUsedAt ? time(key.lastUsedAt) : 'never'),
      fact('Expires', key.expiresAt ? time(key.expiresAt) : 'never'),
      fact('Suspended', key.suspendedAt && time(key.suspendedAt)),
      fact('Old secret', old && h('span', {}, mono(old.display), ' works until ', time(old.until))),
      fact('Revoked', key.revokedAt && time(key.revokedAt)),
      fact('Reason', key.revokedReason && foreign(key.revokedReason)),
      fact('Metadata', key.metadata && h('pre', { tabindex: '0', role: 'group', 'aria-label': 'Metadata' }, JSON.stringify(key.metadata, null, 2))))),
    key.kind === 'payment' && h('p', {}, h('a', { href: `#/purchases?keyId=${encodeURIComponent(key.id)}` }, 'The purchase it was issued for')),
    h('section', { class: 'card' }, h('h2', {}, 'History'), h('ol', { class: 'history' },
      key.history.map(({ action, by, at, reason }) => h('li', {}, h('strong', {}, action), h('span', {}, 'by ', mono(by)), time(at), reason && h('q', {}, foreign(reason)))))),
    refusalsOf(key.id, view),
    commands(['GET', `/keys/${encodeURIComponent(id)}`], `keys show ${shell(id)}`),
  ];
}
