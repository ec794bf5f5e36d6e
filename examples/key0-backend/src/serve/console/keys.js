// Keys: the list, one key, and everything that is done to keys.

import { call, commands, curl, isMaster, refused, setFilter, shell } from './api.js';
import { ago, announce, button, copy, dialog, empty, fact, fault, field, foreign, h, line, mono, pill, select, table, time } from './dom.js';
import { refusalsOf } from './refusals.js';

const DAY = 86_400_000;
/** How many matching keys are shown at a time, and how many pages are looked through for them. */
const SHOWN = 50;
const PAGES = 10;
const ACTIONS = ['create', 'read', 'update', 'delete'];
const KNOWN_RESOURCES = ['dpp', 'loyalty'];

const STATES = [['', 'Active'], ['all', 'Any state'], ['suspended', 'Suspended'], ['expired', 'Expired'], ['revoked', 'Revoked']];
const KINDS = [['', 'Partner keys'], ['payment', 'Payment keys']];
const ROLES = [['', 'Any rights'], ['read', 'read'], ['minter', 'minter'], ['support', 'support'], ['master', 'master'], ['own', 'Own permissions']];
const USES = [['', 'Any time'], ['30', 'Idle for 30 days'], ['90', 'Idle for 90 days'], ['365', 'Idle for a year']];
const ENDS = [['', 'Any'], ['never', 'Never'], ['soon', 'Within 14 days']];

export function stateOf(key) {
  if (key.unreadable) return 'unreadable';
  if (key.revokedAt) return 'revoked';
  if (key.expiresAt && Date.parse(key.expiresAt) <= Date.now()) return 'expired';
  return key.suspendedAt ? 'suspended' : 'active';
}

const TONES = { active: 'good', suspended: 'warn', expired: 'off', revoked: 'bad', unreadable: 'bad' };
export const statePill = (key) => pill(TONES[stateOf(key)], stateOf(key));

/** What a key really opens: permissions take the place of a role's. */
export function rights(key) {
  if (key.kind === 'payment') {
    return h('span', {}, mono(key.resourceId), h('small', {}, 'plan ', mono(key.planId)), key.permissions && h('small', {}, granted(key.permissions)));
  }
  if (key.permissions) return h('span', {}, granted(key.permissions));
  const means = { master: 'manages keys', support: 'looks, changes nothing', minter: 'create, read, update everywhere', read: 'read everywhere' };
  return h('span', {}, key.role, h('small', {}, means[key.role]));
}

const granted = (permissions) => Object.entries(permissions).map(([of, actions]) => `${of}: ${actions.join(', ') || 'nothing'}`).join(' · ') || 'nothing';

export const name = (key) => (key.label ? foreign(key.label) : h('span', { class: 'muted' }, 'no label'));
export const linkTo = (id, text) => h('a', { href: `#/keys/${encodeURIComponent(id)}` }, text);

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
      h('td', { class: 'wide' }, time(key.createdAt)),
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
      fact('Created by', key.history.find(({ action }) => action === 'created') && mono(key.history.find(({ action }) => action === 'created').by)),
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

const reasonField = () => h('input', { type: 'text', maxlength: 200, dir: 'auto', placeholder: 'optional, for its history' });

function expiry(value) {
  const presets = [['', 'Never'], ['1', '24 hours'], ['7', '7 days'], ['30', '30 days'], ['90', '90 days'], ['365', 'A year'], ['at', 'At another time']];
  const preset = select(presets, value ? 'at' : '');
  const at = h('input', { type: 'datetime-local', step: '1', value: value?.slice(0, 19) });
  const own = field('Expires at (UTC)', at);
  const read = () => {
    own.hidden = preset.value !== 'at';
    at.required = !own.hidden;
    if (preset.value === '') return null;
    if (preset.value !== 'at') return new Date(Date.now() + preset.value * DAY).toISOString();
    const date = new Date(`${at.value}Z`);
    // What was not touched stays as it was, to the millisecond.
    if (value && at.value === value.slice(0, 19)) return value;
    return Number.isNaN(date.getTime()) ? null : date.toISOString();
  };
  read();
  return { parts: h('div', { class: 'two' }, field('Expires', preset), own), read };
}

/** What a partner's key may do: all that its role means, or permissions one by one. */
function rightsPicker(key) {
  const role = select([['read', 'read: read everywhere'], ['minter', 'minter: create, read, update everywhere']], key?.role ?? 'read');
  const own = h('input', { type: 'checkbox', checked: Boolean(key?.permissions) });
  const grid = h('div', { class: 'grid' });
  const add = (resource) => {
    const boxes = ACTIONS.map((action) => h('label', {}, h('input', { type: 'checkbox', value: action, checked: key?.permissions?.[resource]?.includes(action) }), action));
    grid.append(h('fieldset', { 'data-resource': resource }, h('legend', {}, mono(resource)), boxes));
  };
  for (const resource of new Set([...KNOWN_RESOURCES, ...Object.keys(key?.permissions ?? {})])) add(resource);
  const other = h('input', { type: 'text', pattern: '[A-Za-z0-9._\\/\\-]{1,64}', placeholder: 'another resource' });
  const more = button('Add', () => {
    const resource = other.value.trim();
    if (!resource || !other.checkValidity() || grid.querySelector(`[data-resource="${CSS.escape(resource)}"]`)) return other.reportValidity();
    add(resource);
    other.value = '';
  }, { tone: 'small' });
  // It is added, rather than the whole form sent.
  other.addEventListener('keydown', (event) => {
    if (event.key !== 'Enter') return;
    event.preventDefault();
    more.click();
  });
  const permissions = h('div', { class: 'permissions' }, grid, h('div', { class: 'two' }, field('Another resource', other), more));
  const read = () => {
    permissions.hidden = !own.checked;
    if (!own.checked) return { role: role.value, permissions: null };
    const picked = [...grid.children].map((of) => [of.dataset.resource, [...of.querySelectorAll(':checked')].map(({ value }) => value)]);
    return { role: role.value, permissions: Object.fromEntries(picked.filter(([, actions]) => actions.length)) };
  };
  read();
  return { parts: [field('Role', role), h('label', { class: 'check' }, own, 'Permissions of its own, in place of the role\'s'), permissions], read };
}

const flags = (permissions) => Object.entries(permissions ?? {}).flatMap(([of, actions]) => actions.map((action) => `--permission=${shell(`${of}:${action}`)}`));

function create(then) {
  const label = h('input', { type: 'text', maxlength: 200, dir: 'auto', placeholder: 'whose it is, and what for' });
  const { parts, read } = rightsPicker();
  const ends = expiry();
  const shown = h('div', {});
  const body = () => {
    const { role, permissions } = read();
    const expiresAt = ends.read();
    return { role, ...(label.value && { label: label.value }), ...(permissions && { permissions }), ...(expiresAt && { expiresAt }) };
  };
  dialog('Create a key', [field('Label', label), parts, ends.parts, shown], {
    confirm: 'Create',
    refresh: () => {
      const of = body();
      const cli = ['keys create', `--role ${of.role}`, of.label && `--label=${shell(of.label)}`, ...flags(of.permissions), of.expiresAt && `--expires-at ${of.expiresAt}`];
      keepOpen(shown, commands(['POST', '/keys', { body: of }], cli.filter(Boolean).join(' ')));
    },
    then,
    act: async (box) => {
      const of = body();
      if (of.permissions && !Object.keys(of.permissions).length) throw Object.assign(new Error('Pick at least one, or use what the role grants.'), { title: 'No permission is picked.' });
      const made = await call('POST', '/keys', { body: of });
      box.close();
      secret('The new key', made, then);
    },
  });
}

/** Exchanges the lines of a dialog, which stay open where they were. */
function keepOpen(place, details) {
  details.open = place.firstChild?.open ?? false;
  place.replaceChildren(details);
}

/** Shows a secret, this once. It stands in the dialog alone, and is gone with it. */
function secret(title, made, then) {
  const stored = h('button', { type: 'button', class: 'primary', click: () => box.close() }, 'I have stored it');
  const copied = h('button', { type: 'button', class: 'primary' }, 'Copy');
  copied.addEventListener('click', () => copy(made.key, copied));
  // No slip closes it: Chromium asks `cancel` once alone.
  const box = h('dialog', { 'aria-labelledby': 'secret-title', closedby: 'none' });
  box.addEventListener('cancel', (event) => event.preventDefault());
  box.addEventListener('close', () => {
    box.remove();
    then(made.id);
  });
  const parts = [
    h('h2', { id: 'secret-title' }, title),
    h('p', { class: 'note warn' }, 'It is shown this once and never again. Copy it to where it is kept, then close.'),
    h('div', { class: 'line secret' }, h('code', { id: 'secret', tabindex: '0', role: 'group', 'aria-label': 'The secret', translate: 'no' }, made.key), copied),
    made.oldKeyUntil && h('p', {}, 'The old secret works until ', time(made.oldKeyUntil), '.'),
    h('details', { class: 'commands' }, h('summary', {}, 'Try it'), line(curl('GET', '/credential', { auth: '-H "X-Api-Key: $KEY"' }), 'a line for curl that asks what the key is')),
    h('div', { class: 'actions' }, stored),
  ];
  box.append(...parts.filter(Boolean));
  document.body.append(box);
  box.showModal();
  copied.focus();
  announce(`${title} is shown`);
}

function edit(key, then) {
  const label = h('input', { type: 'text', maxlength: 200, dir: 'auto', value: key.label });
  const partner = key.kind !== 'payment';
  const picker = partner && rightsPicker(key);
  const ends = expiry(key.expiresAt);
  const shown = h('div', {});
  // What was not changed is not sent.
  const body = () => {
    const of = {};
    const { role, permissions } = picker ? picker.read() : {};
    const expiresAt = ends.read();
    if (label.value !== (key.label ?? '')) of.label = label.value || null;
    if (picker && role !== key.role) of.role = role;
    if (picker && JSON.stringify(sorted(permissions)) !== JSON.stringify(sorted(key.permissions))) of.permissions = permissions;
    if (expiresAt !== (key.expiresAt ?? null)) of.expiresAt = expiresAt;
    return of;
  };
  const path = `/keys/${encodeURIComponent(key.id)}`;
  dialog('Edit the key', [field('Label', label), picker && picker.parts, ends.parts, shown], {
    confirm: 'Save',
    refresh: () => {
      const of = body();
      const permissions = of.permissions === null ? ['--permission \'\''] : flags(of.permissions);
      const cli = [`keys edit ${shell(key.id)}`, 'label' in of && `--label=${shell(of.label ?? '')}`, of.role && `--role ${of.role}`, ...permissions, 'expiresAt' in of && `--expires-at ${of.expiresAt ?? "''"}`];
      keepOpen(shown, commands(['PATCH', path, { body: of }], cli.filter(Boolean).join(' ')));
    },
    then,
    act: async () => {
      const of = body();
      if (Object.keys(of).length) await call('PATCH', path, { body: of });
      announce('Saved');
      then();
      return true;
    },
  });
}

const sorted = (permissions) => permissions && Object.entries(permissions).map(([of, actions]) => [of, [...actions].sort()]).sort();

function suspend(key, on, then) {
  const path = `/keys/${encodeURIComponent(key.id)}`;
  const body = { suspended: on };
  dialog(on ? 'Suspend this key?' : 'Resume this key?', [
    h('p', {}, name(key), ' ', mono(key.display), on ? ' opens nothing until it is resumed: its requests get 401 key_suspended.' : ' opens again what it opened before.'),
    commands(['PATCH', path, { body }], `keys ${on ? 'suspend' : 'resume'} ${shell(key.id)}`),
  ], {
    confirm: on ? 'Suspend' : 'Resume',
    then,
    act: async () => {
      await call('PATCH', path, { body });
      announce(on ? 'Suspended' : 'Resumed');
      then();
      return true;
    },
  });
}

function rotate(key, then) {
  const grace = select([['0', 'No time: it stops working now'], ['3600', '1 hour'], ['86400', '24 hours'], ['604800', '7 days'], ['2592000', '30 days']], '86400');
  const path = `/keys/${encodeURIComponent(key.id)}/rotate`;
  const shown = h('div', {});
  const body = () => ({ gracePeriodSeconds: Number(grace.value) });
  dialog('Rotate this key?', [
    h('p', {}, name(key), ' ', mono(key.display), ' gets a new secret under the same id.'),
    field('The old secret goes on working for', grace, 'An even older secret that still works stops working now.'),
    shown,
  ], {
    confirm: 'Rotate',
    refresh: () => keepOpen(shown, commands(['POST', path, { body: body() }], `keys rotate ${shell(key.id)}${grace.value === '0' ? '' : ` --grace ${grace.value}s`}`)),
    then,
    act: async (box) => {
      const made = await call('POST', path, { body: body() });
      box.close();
      secret('The new secret', made, then);
    },
  });
}

function revoke(key, then) {
  const reason = reasonField();
  const path = `/keys/${encodeURIComponent(key.id)}`;
  const shown = h('div', {});
  const query = () => ({ reason: reason.value.trim() });
  const last = key.lastUsedAt ? ` It was last used ${ago(key.lastUsedAt)}.` : ' It was never used.';
  dialog('Revoke this key for good?', [
    h('p', { class: 'note bad' }, 'Every secret of ', name(key), ' ', mono(key.display), ` dies at once, and nothing brings it back.${last}`),
    field('Reason', reason),
    shown,
  ], {
    confirm: 'Revoke',
    then,
    tone: 'danger',
    refresh: () => keepOpen(shown, commands(['DELETE', path, { query: query() }], `keys revoke ${shell(key.id)}${reason.value.trim() ? ` --reason=${shell(reason.value.trim())}` : ''}`)),
    act: async () => {
      await call('DELETE', path, { query: query() });
      announce('Revoked');
      then();
      return true;
    },
  });
}

/** The same for several keys, one after another, and what became of each. */
function several(what, some, then) {
  const revoking = what === 'Revoke';
  const reason = reasonField();
  const request = (key) => (revoking
    ? ['DELETE', `/keys/${encodeURIComponent(key.id)}`, { query: { reason: reason.value.trim() } }]
    : ['PATCH', `/keys/${encodeURIComponent(key.id)}`, { body: { suspended: what === 'Suspend' } }]);
  const shown = h('div', {});
  let done = false;
  let stopped = false;
  dialog(`${what} ${some.length} ${some.length === 1 ? 'key' : 'keys'}?`, [
    h('ul', { class: revoking ? 'note bad names' : 'names' }, some.map(({ key }) => h('li', { 'data-id': key.id }, name(key), ' ', mono(key.display ?? key.id)))),
    revoking && h('p', {}, 'Every secret of theirs dies at once, and nothing brings them back.'),
    revoking && field('Reason', reason),
    shown,
  ], {
    confirm: what,
    tone: revoking ? 'danger' : 'primary',
    stop: () => { stopped = true; },
    refresh: () => keepOpen(shown, commands(request(some[0].key), `keys ${what.toLowerCase()} ${shell(some[0].key.id)}`)),
    act: async (box) => {
      if (done) return true;
      let failed = 0;
      let left = 0;
      for (const { key } of some) {
        const item = box.querySelector(`[data-id="${CSS.escape(key.id)}"]`);
        // Whoever signs out meanwhile stops it, too.
        if (stopped || !box.isConnected) {
          left++;
          item.append(' ', pill('warn', 'not done'));
          continue;
        }
        try {
          await call(...request(key));
          item.append(' ', pill('good', 'done'));
        } catch (error) {
          failed++;
          item.append(' ', pill('bad', 'failed'), ' ', foreign(error.message), error.unsure ? ` ${error.help}` : '');
        }
      }
      if (!box.isConnected) return true;
      announce(`${some.length - failed - left} done, ${failed} failed, ${left} not done`);
      if (failed || left) {
        done = true;
        box.addEventListener('close', () => then());
        box.querySelector('[type=submit]').textContent = 'Close';
        return false;
      }
      then();
      return true;
    },
  });
}
