// Why was it refused: the newest refusals that this instance remembers.

import { call, commands, setFilter } from './api.js';
import { announce, button, empty, fault, field, foreign, h, mono, pill, table, time } from './dom.js';

/** What a code means, and what to do about it. */
export const MEANS = {
  missing_credential: 'No credential was sent.',
  invalid_token: 'The token is not good: another signer, tampered with, or for somebody else.',
  token_expired: 'A good token whose time is over: the agent buys again.',
  token_revoked: 'Its purchase was revoked.',
  invalid_api_key: 'The key is mistyped, or unknown here.',
  key_revoked: 'The key was revoked: its history says by whom.',
  key_expired: 'The key\'s time is over.',
  key_suspended: 'The key is suspended: resume it, and it works again.',
  key_rotated: 'An old secret, whose grace is over: its holder must use the new one.',
  insufficient_permissions: 'A good credential, without the right that this takes.',
  invalid_internal_auth: 'Whoever called did not prove to be Key0.',
  store_unavailable: 'The store did not answer. This says nothing of the credential.',
  payment_already_redeemed: 'The payment has bought a credential already.',
  purchase_revoked: 'The purchase was revoked before.',
  not_found: 'Nothing is at this path.',
};

/** Who was refused, with a way there. */
function caller({ caller: who }) {
  if (!who) return h('span', { class: 'muted' }, 'unknown');
  const text = who.display ? mono(who.display) : mono(who.id);
  const path = {
    integrator_key: `#/keys/${encodeURIComponent(who.id)}`,
    payment_key: `#/keys/${encodeURIComponent(who.id)}`,
    access_token: `#/purchases?requestId=${encodeURIComponent(who.id)}`,
  }[who.kind];
  return h('span', {}, path ? h('a', { href: path }, text) : text, h('small', {}, who.kind.replaceAll('_', ' ')));
}

const tone = (status) => (status >= 500 ? 'bad' : status === 401 || status === 403 ? 'warn' : 'off');

function row(refusal) {
  const { at, requestId, method, route, status, code, detail, wanted, held } = refusal;
  return h('tr', {},
    h('td', { class: 'mid' }, time(at)),
    h('th', { scope: 'row' }, pill(tone(status), code), h('small', {}, MEANS[code] ?? foreign(detail)),
      h('div', { class: 'folded' }, mono(`${method} ${route ?? '–'}`)), h('div', { class: 'narrow' }, h('div', { class: 'caller' }, caller(refusal)), time(at))),
    h('td', { class: 'wide' }, mono(`${method} ${route ?? '–'}`)),
    h('td', { class: 'mid caller' }, caller(refusal)),
    h('td', { class: 'wide' }, wanted ? h('span', {}, 'wanted ', mono(wanted)) : h('span', { class: 'muted' }, '–'), held && h('small', {}, 'holds ', mono(held))),
    h('td', { class: 'wide id' }, mono(requestId)));
}

const COLUMNS = [['Time', 'mid'], ['Why'], ['Request', 'wide'], ['Caller', 'mid caller'], ['Wanted, held', 'wide'], ['Request id', 'wide']];

export function list(params, view) {
  const input = (of, placeholder) => {
    const text = h('input', { type: 'text', value: params.get(of), maxlength: 256, placeholder, spellcheck: 'false', change: () => setFilter('refusals', params, of, text) });
    return text;
  };
  const code = input('code', 'key_revoked');
  const codes = h('datalist', { id: 'codes' }, Object.keys(MEANS).map((of) => h('option', { value: of })));
  code.setAttribute('list', codes.id);
  const query = { code: params.get('code'), caller: params.get('caller'), requestId: params.get('requestId') };
  const { whole, body } = table('Refusals, newest first', COLUMNS);
  const foot = h('div', { class: 'foot' });
  let cursor = '';
  let shown = 0;
  const more = async () => {
    foot.replaceChildren(h('span', { class: 'muted' }, 'Loading…'));
    try {
      const answer = await call('GET', '/refusals', { query: { ...query, cursor }, signal: view.signal });
      body.append(...answer.refusals.map(row));
      shown += answer.refusals.length;
      cursor = answer.nextCursor ?? '';
      whole.hidden = shown === 0;
      announce(`${shown} refusals`);
      foot.replaceChildren(
        shown ? h('span', { class: 'muted' }, `${shown} refusals${cursor ? ' so far' : ''}`)
          : empty(params.size ? 'No refusal matches. Remove a filter.' : 'Nothing has been refused since this instance started.'),
        ...(cursor ? [button('Show more', more)] : []));
    } catch (error) {
      if (!view.signal.aborted) foot.replaceChildren(fault(error, more));
    }
  };
  more();
  return [
    h('div', { class: 'title' }, h('h1', {}, 'Refusals'), button('Refresh', () => view.again())),
    h('p', { class: 'muted' }, 'The last 10,000 that this instance remembers, since its start. The log has those before, and those of other instances.'),
    h('div', { class: 'filters', role: 'group', 'aria-label': 'Filters' },
      field('Code', code), field('Caller', input('caller', 'id, or ak_1a2B…')), field('Request id', input('requestId', '')), codes),
    whole, foot, commands(['GET', '/refusals', { query }]),
  ];
}

/** The newest refusals of one caller, as a part of another view. */
export function refusalsOf(id, view) {
  const place = h('section', { class: 'card' }, h('h2', {}, 'Recent refusals'), h('p', { class: 'muted' }, 'Loading…'));
  const load = async () => {
    try {
      const { refusals } = await call('GET', '/refusals', { query: { caller: id, limit: '5' }, signal: view.signal });
      const { whole } = table('Its newest refusals', COLUMNS, refusals.map(row));
      place.lastChild.replaceWith(refusals.length ? h('div', {}, whole, h('p', {}, h('a', { href: `#/refusals?caller=${encodeURIComponent(id)}` }, 'All its refusals')))
        : h('p', { class: 'muted' }, 'None since this instance started.'));
    } catch (error) {
      if (!view.signal.aborted) place.lastChild.replaceWith(fault(error, load));
    }
  };
  load();
  return place;
}
