// One box for whatever an operator is handed.

import { ApiError, call, credential, curl, isMaster, isOwn, refused } from './api.js';
import { $, announce, button, empty, fact, fault, foreign, h, line, mono, pill, time } from './dom.js';
import { linkTo, name, rights, statePill } from './key.js';
import { byAny, purchaseLine } from './purchases.js';
import { refusalsOf } from './refusals.js';

/** Of its making a time is part: no secret is made so. */
const UUID7 = /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}$/i;
const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;
const HASH = /^(0x)?[0-9a-f]{64}$/i;
const MASKED = /^[A-Za-z0-9]{1,16}_[A-Za-z0-9]{0,12}(…|\.\.\.)?$/;
const TOKEN = /^[\w-]+(\.[\w-]+){2}$/;
const KEY = /^[A-Za-z0-9]{1,16}_[A-Za-z0-9_-]{16,}$/;
const LONG = 20;

/** A token's header and claims, if it is one; nothing is checked. */
function decode(text) {
  if (!TOKEN.test(text)) return null;
  const parts = text.split('.');
  try {
    const [header, claims] = parts.slice(0, 2).map((part) => {
      const bytes = Uint8Array.from(atob(part.replaceAll('-', '+').replaceAll('_', '/')), (char) => char.charCodeAt(0));
      return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
    });
    return header && typeof header === 'object' && claims && typeof claims === 'object' ? { header, claims } : null;
  } catch {
    return null;
  }
}

async function digestOf(text) {
  if (!globalThis.crypto?.subtle) {
    throw new ApiError('This page can\'t hash the key.', 'Browsers do that over HTTPS and on localhost alone.',
      { help: 'On the host: key0-backend keys find -' });
  }
  const bytes = new Uint8Array(await crypto.subtle.digest('SHA-256', new TextEncoder().encode(text)));
  return [...bytes].map((byte) => byte.toString(16).padStart(2, '0')).join('');
}

/** Looks for a text, and shows the views' links to what it is. A secret stands in no address. */
export async function search(given, view) {
  const text = given.replace(/^(authorization:\s*)?(bearer|apikey|x-api-key:)\s+/i, '').trim();
  const token = decode(text);
  const results = h('div', { class: 'results' });
  const show = (...parts) => { if (!view.signal.aborted) results.replaceChildren(...parts.flat(Infinity).filter(Boolean)); };
  const heading = h('h1', { tabindex: '-1' }, 'Search');
  $('main').replaceChildren(heading, results);
  heading.focus({ preventScroll: true });
  if (isOwn(text)) {
    $('sought').value = '';
    return show(h('div', { class: 'card' }, h('h2', {}, 'This is the key that you are signed in with.')));
  }
  if (token) {
    $('sought').value = '';
    return aToken(text, token, show, view);
  }
  // Bare hexadecimal digits and random UUIDs are made as secrets, too.
  const isKnownId = UUID7.test(text) || (HASH.test(text) && /^0x/i.test(text)) || /^(https?|challenge|http)-/i.test(text);
  if (KEY.test(text) && !MASKED.test(text) && !isKnownId) {
    $('sought').value = '';
    return aKey(text, show, view);
  }
  if (text.length >= LONG && !/[\s…]/.test(text) && !isKnownId) {
    show(h('div', { class: 'card' },
      h('h2', {}, 'Is this a secret?'),
      h('p', {}, 'It may be a key of another shape. A secret is hashed in this page, and only its SHA-256 is sent; an id is sent as it stands.'),
      h('div', { class: 'actions start' },
        button('A secret: send its SHA-256', () => { $('sought').value = ''; return aKey(text, show, view); }, { tone: 'primary' }),
        button('An id: send it', () => anything(text, show, view)))));
    return undefined;
  }
  return anything(text, show, view);
}

const heading = (title, ...more) => h('h2', {}, title, ...more);
const keyLine = (key) => h('li', {}, linkTo(key.id, name(key)), ' ', mono(key.display ?? key.id), ' ', !key.unreadable && statePill(key), !key.unreadable && h('small', {}, rights(key)));

async function aKey(text, show, view) {
  if (!isMaster()) {
    return show(h('div', { class: 'card' }, heading('A whole key'), h('p', {}, 'Only a master key finds a key by its secret. ', refused()),
      h('p', {}, 'Search its beginning instead, as it is shown: ', mono(`${text.slice(0, text.indexOf('_') + 5)}…`))));
  }
  show(h('p', { class: 'muted' }, 'Hashing it here, and looking for its SHA-256…'));
  try {
    const digest = await digestOf(text);
    const shell = line(curl('POST', '/keys/find', { body: { digest } }), 'the line for curl');
    try {
      const key = await call('POST', '/keys/find', { body: { digest }, signal: view.signal });
      announce('One key was found');
      show(h('div', { class: 'card' }, heading('The key'), h('ul', { class: 'found' }, keyLine(key)), h('p', { class: 'muted' }, 'Only its SHA-256 was sent.'), shell));
    } catch (error) {
      if (error.status !== 404) throw error;
      announce('Nothing was found');
      show(h('div', { class: 'card' }, heading('No key has this secret'),
        h('p', {}, 'It is mistyped, of another backend, a key of the configuration, or was forgotten 30 days after its end. Only its SHA-256 was sent.'), shell));
    }
  } catch (error) {
    if (!view.signal.aborted) show(fault(error, () => aKey(text, show, view)));
  }
  return undefined;
}

/** A claim's time; as it stands where it is none, or past what a date can be. */
function instant(seconds) {
  const date = new Date(seconds * 1000);
  const isTime = typeof seconds === 'number' && !Number.isNaN(date.getTime());
  return isTime ? time(date.toISOString()) : mono(JSON.stringify(seconds));
}

async function aToken(text, { header, claims }, show, view) {
  const answer = h('div', { class: 'answer', role: 'status' }, h('p', { class: 'muted' }, 'Asking the backend whether it is good…'));
  const times = new Set(['exp', 'iat', 'nbf']);
  const told = h('dl', {}, Object.entries(claims).map(([of, value]) => fact(of, times.has(of) ? instant(value) : mono(typeof value === 'string' ? value : JSON.stringify(value)))));
  const bought = h('div', {});
  const holder = typeof claims.sub === 'string' ? claims.sub : null;
  const refusals = holder && refusalsOf(holder, view);
  show(
    h('div', { class: 'card' }, heading('An access token'), answer, line(curl('GET', '/credential', { auth: '-H "Authorization: Bearer $TOKEN"' }), 'the line for curl'), line('key0-backend token inspect -', 'the line for key0-backend')),
    h('div', { class: 'card' }, heading('Claims'), h('p', { class: 'muted' }, 'Decoded in this page; only the backend can tell whether it is true. ', 'Header: ', mono(JSON.stringify(header))), told),
    bought, refusals);
  try {
    const what = await credential({ Authorization: `Bearer ${text}` }, view.signal);
    answer.replaceChildren(pill('good', 'good'), ` It opens ${what.resourceId ?? ''} by the plan ${what.planId ?? ''}, for ${what.expiresInSeconds ?? '?'} more seconds.`);
  } catch (error) {
    if (view.signal.aborted) return;
    answer.replaceChildren(...(error.status === 401 || error.status === 400
      ? [pill('bad', error.code), ' The backend refuses it: ', foreign(error.message), '.'] : [fault(error)]));
  }
  // Its ids lead to what was bought.
  const ids = { challengeId: claims.jti, requestId: claims.sub };
  for (const [of, id] of Object.entries(ids)) {
    if (typeof id === 'string' && await group(bought, 'Its purchase', () => byAny({ [of]: id }, view), purchaseLine)) return;
  }
}

/** A part of the results. It fails by itself, and says so. */
async function group(place, title, find, lineOf) {
  place.replaceChildren(h('p', { class: 'muted' }, `${title}: looking…`));
  try {
    const found = await find();
    place.replaceChildren(...(found.length ? [h('div', { class: 'card' }, heading(title), h('ul', { class: 'found' }, found.map(lineOf)))] : []));
    return found.length;
  } catch (error) {
    if (error.name === 'AbortError') return 0;
    place.replaceChildren(h('div', { class: 'card' }, heading(title), fault(error, () => group(place, title, find, lineOf))));
    return 0;
  }
}

const none = (promise) => promise.catch((error) => { if (error.status === 404) return null; throw error; });

/** An id, a label, a masked form, a hash: whatever has it is shown. */
async function anything(text, show, view) {
  const groups = [];
  const look = (title, find, lineOf) => {
    const place = h('div', {});
    groups.push([place, group(place, title, find, lineOf)]);
  };
  const get = (path, query) => call('GET', path, { query, signal: view.signal });
  const each = async (query) => {
    const found = await Promise.all(['', 'payment'].map((kind) => get('/keys', { ...query, kind, status: 'all', limit: '20' })));
    return found.flatMap(({ keys }) => keys);
  };
  const id = text.length <= 256 && /^[!-~]+$/.test(text);
  if (UUID.test(text)) look('Key', async () => [await none(get(`/keys/${encodeURIComponent(text)}`))].filter(Boolean), keyLine);
  if (HASH.test(text) && !/^0x/i.test(text) && isMaster()) {
    look('Key with this SHA-256', async () => [await none(call('POST', '/keys/find', { body: { digest: text }, signal: view.signal }))].filter(Boolean), keyLine);
  }
  if (MASKED.test(text)) look('Keys that are shown so', () => each({ prefix: text.replace(/(…|\.\.\.)$/, '') }), keyLine);
  if (text.length <= 200 && !HASH.test(text)) look('Keys with this label', () => each({ label: text }), keyLine);
  if (id) look('Purchases with this transaction', () => byAny({ txHash: text }, view), purchaseLine);
  if (id && !HASH.test(text)) {
    look('Purchase with this challenge', () => byAny({ challengeId: text }, view), purchaseLine);
    look('Purchases with this request', () => byAny({ requestId: text }, view), purchaseLine);
    look('Refusal with this request id', async () => (await get('/refusals', { requestId: text })).refusals,
      ({ at, code, route, method, requestId }) => h('li', {}, h('a', { href: `#/refusals?requestId=${encodeURIComponent(requestId)}` }, code), ' ', mono(`${method} ${route ?? '–'}`), h('small', {}, time(at))));
  }
  show(groups.map(([place]) => place));
  const found = (await Promise.all(groups.map(([, found]) => found))).reduce((sum, found) => sum + found, 0);
  if (view.signal.aborted) return;
  announce(`${found} found`);
  if (!found && groups.every(([place]) => !place.querySelector('.bad'))) {
    show(h('div', { class: 'card' }, empty('Nothing found.',
      h('p', { class: 'muted' }, 'Looked for as an id of a key, purchase or request, a transaction, a label and a masked key. A label must be whole; of a key shown as ak_1a2B…, its beginning is enough. Refusals are remembered since the start alone, and by this instance.'))));
  }
}
