// Signing in, the views and the way between them.

import { ENDED, session, signIn, signOut, whenEnded } from './api.js';
import * as audit from './audit.js';
import { $, announce, fault, h, once, pill } from './dom.js';
import * as health from './health.js';
import * as keys from './keys.js';
import * as purchases from './purchases.js';
import * as refusals from './refusals.js';
import { search } from './search.js';

/** After how many milliseconds what was shown before gives way to what is being loaded. */
const LATE = 250;

const entry = $('entry');
let leaving = new AbortController();

/** What stands behind `#/…`: a name, then an id where one thing is shown. */
const VIEWS = {
  keys: { title: 'Keys', list: keys.list, show: keys.show, gone: 'Keys are forgotten 30 days after their end.' },
  purchases: { title: 'Purchases', list: purchases.list, show: purchases.show, gone: 'It is unknown here, or was forgotten.' },
  refusals: { title: 'Refusals', list: refusals.list },
  health: { title: 'Health', list: health.page },
  audit: { title: 'Audit', list: audit.list },
};

function where() {
  const [path, query] = location.hash.replace(/^#\/?/, '').split('?');
  const [name, id] = path.split('/');
  let shown = '';
  try { shown = decodeURIComponent(id ?? ''); } catch { /* Then it is the id of nothing. */ }
  return { name: VIEWS[name] ? name : 'keys', id: shown, params: new URLSearchParams(query) };
}

/** Shows what the address says. Whatever was being loaded for the view before is given up. */
async function go({ focus = true } = {}) {
  leaving.abort();
  if (!session.role) return;
  leaving = new AbortController();
  const { signal } = leaving;
  const { name, id, params } = where();
  const of = VIEWS[name];
  const view = {
    signal,
    /** After a change: what is there now, or what was made. */
    again: (made) => {
      if (made && made !== id) location.hash = `#/${name}/${encodeURIComponent(made)}`;
      else go({ focus: false });
    },
  };
  for (const link of document.querySelectorAll('nav a')) {
    if (link.getAttribute('href') === `#/${name}`) link.setAttribute('aria-current', 'page');
    else link.removeAttribute('aria-current');
  }
  document.title = `${id && of.show ? `${of.title}: ${id}` : of.title} · key0 console`;
  const main = $('main');
  let late;
  let held = null;
  const used = document.activeElement?.closest('.filters') && document.activeElement.labels?.[0]?.textContent;
  try {
    main.removeAttribute('aria-busy');
    if (id && of.show) {
      main.setAttribute('aria-busy', 'true');
      if (focus) late = setTimeout(() => main.replaceChildren(h('h1', {}, of.title), h('p', { class: 'muted' }, 'Loading…')), LATE);
    }
    const parts = await (id && of.show ? of.show(id, view) : of.list(params, view));
    if (signal.aborted) return;
    if (!focus && main.contains(document.activeElement)) held = document.activeElement.textContent;
    main.replaceChildren(...parts.flat(Infinity).filter(Boolean));
  } catch (error) {
    if (signal.aborted) return;
    main.replaceChildren(h('h1', {}, of.title), error.status === 404 && !error.absent
      ? fault(Object.assign(error, { title: `Nothing here has the id ${id}.`, help: of.gone }))
      : fault(error, () => go()));
  } finally {
    clearTimeout(late);
    if (!signal.aborted) main.removeAttribute('aria-busy');
  }
  // Whoever sets one filter may set another.
  const filter = [...main.querySelectorAll('.filters label')].find((label) => used && label.textContent === used)?.control;
  // After a change the focus is on the button that made it, or on the heading where it is gone.
  const button = [...main.querySelectorAll('button')].find((it) => held && it.textContent === held);
  const heading = main.querySelector('h1');
  heading?.setAttribute('tabindex', '-1');
  if (focus) $('sought').value = '';
  if (focus && !filter) scrollTo(0, 0);
  if (filter || focus || held !== null) (filter ?? button ?? heading)?.focus({ preventScroll: true });
}

function shownAs(signedIn) {
  document.body.classList.toggle('signed-out', !signedIn);
  $('who').replaceChildren(...(signedIn ? [pill(session.role === 'master' ? 'good' : 'off', session.role), h('bdi', { dir: 'auto', class: 'foreign' }, session.name)] : []));
}

function end(reason) {
  leaving.abort();
  signOut();
  health.stop();
  for (const dialog of document.querySelectorAll('dialog')) dialog.remove();
  shownAs(false);
  document.title = 'Sign in · key0 console';
  $('main').replaceChildren(entry);
  $('sought').value = '';
  say(reason);
  $('key').focus();
  health.start();
}

function say(reason) {
  $('why').textContent = reason ?? '';
  $('why').hidden = !reason;
}

whenEnded((reason) => { if (session.role) end(`You were signed out. ${reason}`); });

entry.addEventListener('submit', (event) => {
  event.preventDefault();
  once(entry.querySelector('button'), async () => {
    const text = $('key').value.trim();
    say('');
    try {
      await signIn(text);
    } catch (error) {
      say(ENDED[error.code] ?? `${error.title} ${error.message} ${error.help ?? ''}`);
      $('key').select();
      return;
    }
    // Nothing of it stays in the document.
    $('key').value = '';
    shownAs(true);
    announce(`Signed in as ${session.role}`);
    health.start();
    go();
    offered();
  });
});

/** What this backend does not have is not in the way. */
async function offered() {
  try {
    const paths = await health.served();
    $('to-audit').hidden = !paths['/audit'];
  } catch { /* Then the view itself says what is missing. */ }
}

$('leave').addEventListener('click', () => end('You have signed out.'));
$('search').addEventListener('submit', (event) => {
  event.preventDefault();
  const text = $('sought').value.trim();
  if (!text || !session.role) return;
  leaving.abort();
  leaving = new AbortController();
  for (const link of document.querySelectorAll('nav a')) link.removeAttribute('aria-current');
  document.title = 'Search · key0 console';
  $('main').removeAttribute('aria-busy');
  const view = { signal: leaving.signal };
  search(text, view).catch((error) => { if (!view.signal.aborted) $('main').append(fault(error)); });
});
$('skip').addEventListener('click', (event) => {
  event.preventDefault();
  $('main').focus();
});
addEventListener('hashchange', () => go());
// After a search the address is still that of the view before: a link to there changes nothing of it.
addEventListener('click', (event) => {
  const link = event.target.closest?.('a[href^="#/"]');
  if (link?.getAttribute('href') === location.hash && !event.ctrlKey && !event.metaKey && !event.shiftKey) go();
});
addEventListener('keydown', (event) => {
  const typing = event.target.closest?.('input, select, textarea, dialog');
  if (event.key === '/' && !typing && session.role && !event.ctrlKey && !event.metaKey) {
    event.preventDefault();
    $('sought').select();
  }
});
// The browser keeps what stands in fields for a page that comes back, or keeps all of the page.
addEventListener('pagehide', (event) => {
  $('sought').value = '';
  $('key').value = '';
  if (event.persisted && session.role) end('You were signed out when you left the page.');
});

// Not before: what is sent by the form itself goes nowhere.
entry.querySelector('button').disabled = false;
$('key').focus();
health.start();
