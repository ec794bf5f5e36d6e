// Purchases: paid, issued, used and over, as one line of time.

import { ApiError, call, commands, refused, setFilter, shell } from './api.js';
import { announce, button, dialog, empty, fact, fault, field, foreign, h, mono, pill, select, table, time } from './dom.js';
import { refusalsOf } from './refusals.js';

const STATES = [['', 'Any state'], ['issued', 'Issued'], ['confirmed', 'Confirmed'], ['issued_unconfirmed', 'Issued, not confirmed'], ['confirmed_unissued', 'Confirmed, not issued'], ['waiting', 'Waiting'], ['revoked', 'Revoked']];
const TONES = { confirmed: 'good', issued: 'good', waiting: 'warn', issued_unconfirmed: 'warn', confirmed_unissued: 'bad', revoked: 'bad' };
const FILTERS = ['challengeId', 'requestId', 'txHash', 'planId', 'resourceId', 'keyId', 'state'];

const linkTo = (challengeId) => h('a', { href: `#/purchases/${encodeURIComponent(challengeId)}` }, mono(challengeId));
const statePill = ({ state }) => pill(TONES[state] ?? 'off', state.replaceAll('_', ' '));
export const purchaseLine = (purchase) => h('li', {}, linkTo(purchase.challengeId), ' ', statePill(purchase), h('small', {}, mono(purchase.resourceId ?? '–'), ' plan ', mono(purchase.planId ?? '–')));

/** What a backend without purchases answers. */
function explained(error) {
  if (error.status !== 404 && error.status !== 405) return error;
  return new ApiError('This backend offers no purchases.', 'It answers that nothing is at /purchases.', { help: 'This view needs a backend that serves it.', status: error.status, absent: true });
}

/** Purchases by some of the fields that find them. */
export async function byAny(query, view) {
  try {
    return (await call('GET', '/purchases', { query, signal: view.signal })).purchases ?? [];
  } catch (error) {
    throw error.name === 'AbortError' ? error : explained(error);
  }
}

export function list(params, view) {
  const change = (of) => (event) => setFilter('purchases', params, of, event.target);
  const query = Object.fromEntries(FILTERS.map((of) => [of, params.get(of) ?? '']));
  const input = (of) => h('input', { type: 'text', value: query[of], maxlength: 256, spellcheck: 'false', change: change(of) });
  const { whole, body } = table('Purchases, newest first', [['Purchase'], ['Bought', 'mid'], ['State'], ['Issued', 'wide'], ['Last used', 'roomy'], ['Key', 'wide']]);
  const foot = h('div', { class: 'foot' });
  const filters = h('div', { class: 'filters', role: 'group', 'aria-label': 'Filters' },
    field('State', select(STATES, query.state, change('state'))),
    field('Transaction', input('txHash')), field('Challenge', input('challengeId')), field('Request', input('requestId')), field('Plan', input('planId')), field('Resource', input('resourceId')));
  const unreadable = (purchase) => h('tr', {}, h('th', { scope: 'row' }, linkTo(purchase.challengeId), h('small', {}, 'this version can\'t read it')), h('td', { class: 'mid' }, '–'), h('td', {}, h('span', { class: 'muted' }, 'unreadable')), h('td', { class: 'wide' }, time(purchase.firstSeenAt)), h('td', { class: 'roomy' }, '–'), h('td', { class: 'wide' }, '–'));
  const row = (purchase) => purchase.unreadable ? unreadable(purchase) : h('tr', {},
    h('th', { scope: 'row' }, linkTo(purchase.challengeId), h('small', { class: 'narrow' }, mono(purchase.resourceId ?? '–'))),
    h('td', { class: 'mid' }, mono(purchase.resourceId ?? '–'), h('small', {}, 'plan ', mono(purchase.planId ?? '–'))),
    h('td', {}, statePill(purchase)),
    h('td', { class: 'wide' }, time(purchase.issuedAt)),
    h('td', { class: 'roomy' }, purchase.lastUsedAt ? time(purchase.lastUsedAt) : h('span', { class: 'muted' }, 'never')),
    h('td', { class: 'wide' }, purchase.key ? h('a', { href: `#/keys/${encodeURIComponent(purchase.key.id)}` }, mono(purchase.key.display)) : h('span', { class: 'muted' }, '–')));
  let cursor = '';
  let shown = 0;
  const more = async () => {
    foot.replaceChildren(h('span', { class: 'muted' }, 'Loading…'));
    try {
      const answer = await call('GET', '/purchases', { query: { ...query, cursor }, signal: view.signal });
      const found = answer.purchases ?? [];
      body.append(...found.map(row));
      shown += found.length;
      cursor = answer.nextCursor ?? '';
      announce(`${shown} purchases`);
      whole.hidden = shown === 0;
      foot.replaceChildren(
        shown || cursor ? h('span', { class: 'muted' }, `${shown} purchases${cursor ? ' so far' : ''}`)
          : empty(params.size ? 'No purchase matches. Remove a filter.' : 'Nothing has been bought yet. Key0 asks for the first credential at /internal/issue-token.'),
        ...(cursor ? [button('Show more', more)] : []));
    } catch (error) {
      if (view.signal.aborted) return;
      const told = explained(error);
      whole.hidden = shown === 0;
      filters.hidden = Boolean(told.absent);
      foot.replaceChildren(told.absent ? empty(`${told.message} ${told.help}`) : fault(told, more));
      if (told.absent) announce(told.title);
    }
  };
  more();
  const flags = [['state', 'state'], ['txHash', 'tx'], ['challengeId', 'challenge'], ['requestId', 'request'], ['planId', 'plan'], ['resourceId', 'resource'], ['keyId', 'key']];
  const cli = flags.filter(([of]) => query[of]).map(([of, flag]) => `--${flag}=${shell(query[of])}`);
  return [h('h1', {}, 'Purchases'), filters, whole, foot, commands(['GET', '/purchases', { query }], ['purchases list', ...cli].join(' '))];
}

/** What happened, and what should have: [title, when, about, missing]. */
export function steps(purchase) {
  const { state, issuedAt, confirmedAt, handledAt, attempts, lastError, firstUsedAt, lastUsedAt, expiresAt, revokedAt, revokedReason } = purchase;
  const over = expiresAt && Date.parse(expiresAt) <= Date.now();
  const missing = (what) => (state === what ? 'missing' : 'open');
  const all = [
    ['Paid and confirmed', confirmedAt, confirmedAt ? null : state === 'issued_unconfirmed' ? 'Key0 has not reported this payment.' : 'Key0 has not reported it yet.', missing('issued_unconfirmed')],
    ['Issued', issuedAt, issuedAt ? null : state === 'confirmed_unissued' ? 'Paid, and no credential was ever asked for.' : 'No credential was issued here.', missing('confirmed_unissued')],
    ['Handled', handledAt, handledAt ? null : state === 'waiting' ? `The handler has not succeeded${attempts ? ` in ${attempts} ${attempts === 1 ? 'attempt' : 'attempts'}` : ''}.${lastError ? ` Last error: ${lastError}` : ''}` : null, missing('waiting')],
    ['First used', firstUsedAt, firstUsedAt ? null : 'Not yet.', 'open'],
    ['Last used', lastUsedAt === firstUsedAt ? null : lastUsedAt, null, 'skip'],
    [over ? 'Expired' : 'Expires', expiresAt, null, 'skip', !over],
    ['Revoked', revokedAt, revokedReason, 'skip'],
  ];
  // In the order of time; what is missing stays behind all that should come before it.
  let latest = '';
  const placed = all.filter(([, at, , kind]) => at || kind !== 'skip').map((step) => {
    if (step[1] > latest) latest = step[1];
    return [step[1] ?? latest, step];
  });
  return placed.sort(([one], [other]) => (one < other ? -1 : Number(one > other))).map(([, step]) => step)
    .map(([title, at, about, kind, future]) => ({ title, at, about, kind: at ? (title === 'Revoked' ? 'missing' : future ? 'open' : 'done') : kind }));
}

export async function show(id, view) {
  let purchase;
  try {
    purchase = await call('GET', `/purchases/${encodeURIComponent(id)}`, { signal: view.signal });
  } catch (error) {
    // Is it the purchase that is unknown, or all of them?
    if (error.status === 404) await byAny({ limit: '1' }, view);
    throw error;
  }
  const waiting = refused() ?? (purchase.state === 'waiting' ? null : 'Nothing waits here: its handler has run, or was never due.');
  const revoked = refused() ?? (purchase.revokedAt ? 'It is revoked already.' : null);
  const notes = [...new Set([waiting, revoked].filter(Boolean))];
  return [
    h('p', { class: 'crumbs' }, h('a', { href: '#/purchases' }, 'Purchases')),
    h('div', { class: 'title' }, h('h1', {}, mono(purchase.challengeId)), statePill(purchase)),
    h('div', { class: 'actions start', role: 'group', 'aria-label': 'What to do with this purchase' },
      button('Retry', () => act('retry', purchase, view.again), { refused: waiting }),
      button('Settle', () => act('settle', purchase, view.again), { refused: waiting }),
      button('Revoke', () => act('revoke', purchase, view.again), { tone: 'danger', refused: revoked })),
    notes.length > 0 && h('p', { class: 'muted' }, notes.join(' ')),
    h('section', { class: 'card' }, h('h2', {}, 'Timeline'), h('ol', { class: 'timeline' }, steps(purchase).map(({ title, at, about, kind }) =>
      h('li', { class: kind }, h('strong', {}, title, kind === 'missing' && !at && h('span', {}, ': missing')), at ? time(at) : null, about && h('p', {}, foreign(about)))))),
    h('section', { class: 'card' }, h('h2', {}, 'Details'), h('dl', {},
      fact('Resource', mono(purchase.resourceId ?? '–')), fact('Plan', mono(purchase.planId ?? '–')), fact('Transaction', purchase.txHash && mono(purchase.txHash)), fact('Request', purchase.requestId && mono(purchase.requestId)),
      fact('Key', purchase.key ? h('a', { href: `#/keys/${encodeURIComponent(purchase.key.id)}` }, mono(purchase.key.display)) : null))),
    purchase.key && refusalsOf(purchase.key.id, view),
    commands(['GET', `/purchases/${encodeURIComponent(id)}`], `purchases show ${shell(id)}`),
  ];
}

const WORDS = {
  revoke: { title: 'Revoke this purchase for good?', confirm: 'Revoke', done: 'Revoked', tone: 'danger' },
  retry: { title: 'Run its handler now?', confirm: 'Retry', done: 'Tried again' },
  settle: { title: 'Give up on its handler?', confirm: 'Settle', done: 'Settled', tone: 'danger' },
};

function act(what, purchase, then) {
  const { title, confirm, done, tone } = WORDS[what];
  const reason = h('input', { type: 'text', maxlength: 200, dir: 'auto', required: what === 'settle' });
  const path = `/purchases/${encodeURIComponent(purchase.challengeId)}/${what}`;
  const body = () => (what !== 'retry' && reason.value.trim() ? { reason: reason.value.trim() } : {});
  const shown = h('div', {});
  const about = {
    revoke: h('p', { class: 'note bad' }, 'What dies: ', purchase.key ? h('span', {}, 'the key ', mono(purchase.key.display), ', ') : null, 'every access token of ', mono(purchase.challengeId), ', and whatever would be issued for it later. Nothing brings them back.'),
    retry: h('p', {}, 'The handler runs again for ', mono(purchase.challengeId), '.', purchase.lastError && h('span', {}, ' It failed with: ', foreign(purchase.lastError))),
    settle: h('p', { class: 'note warn' }, 'The handler is not run for ', mono(purchase.challengeId), ' again. Whatever it had to do is for you to do.'),
  };
  dialog(title, [about[what], what !== 'retry' && field('Reason', reason), shown], {
    confirm,
    then,
    tone: tone ?? 'primary',
    refresh: () => {
      const of = body();
      shown.replaceChildren(commands(['POST', path, { body: of }], `purchases ${what} ${shell(purchase.challengeId)}${of.reason ? ` --reason=${shell(of.reason)}` : ''}`));
    },
    act: async () => {
      await call('POST', path, { body: body() });
      announce(done);
      then();
      return true;
    },
  });
}
