// What is done to keys: each change by a dialog that says what it does.

import { call, commands, curl, shell } from './api.js';
import { ago, announce, button, copy, dialog, field, foreign, h, line, mono, pill, select, time } from './dom.js';
import { name } from './key.js';

const DAY = 86_400_000;
const ACTIONS = ['create', 'read', 'update', 'delete'];
const KNOWN_RESOURCES = ['dpp', 'loyalty'];

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

export function create(then) {
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

export function edit(key, then) {
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

export function suspend(key, on, then) {
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

export function rotate(key, then) {
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

export function revoke(key, then) {
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
export function several(what, some, then) {
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
