// The public HTTP API, and nothing else. The key is in this module's memory and leaves it in the
// header `X-Api-Key` alone.

import { h, line } from './dom.js';

export const base = new URL('..', import.meta.url);
const PATIENCE = 10_000;
/** What a header can hold. */
const VISIBLE = /^[!-~]+$/;
const KEY = /^[A-Za-z0-9]{1,16}_[A-Za-z0-9]{20,}$/;
const TOKEN = /^[\w-]{8,}\.[\w-]{8,}\.[\w-]*$/;
const CURL_KEY = '-H "X-Api-Key: $KEY0_API_KEY"';

let key = null;
/** Ends with the session, and every request of it. */
let life = new AbortController();
let ended = () => {};
export const session = { role: null, name: '' };

export const isMaster = () => session.role === 'master';
/** Why nothing can be changed; nothing where it can. */
export const refused = () => (isMaster() ? null : 'A support key sees everything and changes nothing: sign in with a master key.');
export const whenEnded = (then) => { ended = then; };

export class ApiError extends Error {
  constructor(title, message, more) {
    super(message);
    Object.assign(this, { title, ...more });
  }
}

/** What each code means to whoever signs in with such a key. */
export const ENDED = {
  key_revoked: 'This key has been revoked.',
  key_expired: 'This key has expired.',
  key_suspended: 'This key is suspended.',
  key_rotated: 'This key has been rotated: use its new secret.',
  invalid_api_key: 'The backend does not know this key: it is mistyped, or was removed.',
  invalid_token: 'This is no key that the backend knows.',
};

const HELP = {
  network: 'Is the backend running, and can this browser reach it?',
  store_unavailable: 'The store does not answer. Nothing is lost; try again when the strip above says so.',
  insufficient_permissions: 'This key may not do that.',
};

const UNSURE = 'It may have been done all the same: close this and look before you repeat it.';

/**
 * One request, by the signed-in key unless other headers are given. `more` is handed the response, for
 * what its body does not tell.
 */
export async function call(method, path, { query, body, headers, signal, kind = 'json', more } = {}) {
  const url = new URL(path.slice(1), base);
  for (const [name, value] of Object.entries(query ?? {})) if (value) url.searchParams.set(name, value);
  const where = `${method} ${path.replace(/[^/]{40,}/g, '…')}`;
  const timer = AbortSignal.timeout(PATIENCE);
  const given = AbortSignal.any([life.signal, ...(signal ? [signal] : [])]);
  const used = key;
  const unsure = method !== 'GET' && path !== '/keys/find';
  const sent = headers ?? (key ? { 'X-Api-Key': key } : {});
  if (body !== undefined) sent['Content-Type'] = 'application/json';
  let response;
  let text;
  try {
    response = await fetch(url, {
      method,
      headers: sent,
      body: body === undefined ? undefined : JSON.stringify(body),
      signal: AbortSignal.any([given, timer]),
      cache: 'no-store',
      credentials: 'omit',
      redirect: 'error',
      referrerPolicy: 'no-referrer',
    });
    text = await response.text();
  } catch (error) {
    if (given.aborted) throw error;
    const late = timer.aborted;
    throw new ApiError(late ? `${where} is slow.` : `${where} can't be reached.`,
      late ? `No answer within ${PATIENCE / 1000} seconds.` : 'The connection failed.', { code: 'network', status: 0, unsure, help: unsure ? UNSURE : HELP.network });
  }
  const requestId = response.headers.get('X-Request-Id');
  const isJson = /\bjson\b/.test(response.headers.get('Content-Type') ?? '');
  let value = text;
  if (kind === 'json' && text !== '') {
    try {
      if (!isJson) throw 0;
      value = JSON.parse(text);
    } catch {
      throw new ApiError(`${where} answered with something that is no JSON.`,
        `Status ${response.status}, ${response.headers.get('Content-Type') ?? 'no content type'}. Is a proxy or another program in between?`,
        { code: 'no_json', status: response.status, unsure, requestId, help: unsure ? UNSURE : null });
    }
  }
  if (response.ok) {
    more?.(response);
    return value;
  }
  let problem = value;
  if (kind !== 'json' && isJson) {
    try { problem = JSON.parse(text); } catch { problem = {}; }
  }
  const code = problem?.code ?? '';
  // The session's own key is good no more: whatever it was revoked by, this page ends.
  if (response.status === 401 && !headers && key && key === used) ended(ENDED[code] ?? `The backend answers ${code}.`);
  throw new ApiError(`${where}: ${response.status} ${code}`, problem?.detail ?? 'No reason was given.',
    { code, status: response.status, requestId, help: HELP[code], body: problem });
}

/** What the holder of a credential is, or why it is refused. */
export async function credential(headers, signal) {
  const what = await call('GET', '/credential', { headers, signal });
  if (what && typeof what === 'object') return what;
  throw new ApiError('GET /credential does not say what this is.', 'Is a proxy or another program in between?', { code: 'no_json' });
}

export async function signIn(text) {
  if (!VISIBLE.test(text)) {
    throw new ApiError('This is no key.', 'It has characters that no key has. Where a key is shown with …, that is its beginning alone.');
  }
  const what = await credential({ 'X-Api-Key': text });
  if (what.role !== 'master' && what.role !== 'support') {
    const is = what.role ? `a ${what.role} key` : what.kind.replaceAll('_', ' ');
    throw new ApiError('This key can\'t sign in.', `It is good, but it is ${is}. The console takes a master or a support key.`, {});
  }
  key = text;
  session.role = what.role;
  session.name = what.label ?? what.display ?? '';
}

export function signOut() {
  life.abort();
  life = new AbortController();
  key = null;
  session.role = null;
  session.name = '';
}

/** Whether a text is the key that this page is signed in with. */
export const isOwn = (text) => text === key;

/** Sets a filter in the address, where no secret may stand. */
export function setFilter(view, params, of, control) {
  const value = control.value.trim();
  if (isOwn(value) || KEY.test(value) || TOKEN.test(value)) {
    control.value = '';
    control.setCustomValidity('This looks like a secret, which may not come into the address: use the search box.');
    control.reportValidity();
    control.addEventListener('input', () => control.setCustomValidity(''), { once: true });
    return;
  }
  const next = new URLSearchParams(params);
  if (value) next.set(of, value);
  else next.delete(of);
  location.hash = `#/${view}${next.size ? `?${next}` : ''}`;
}

const quoted = (text) => `'${String(text).replaceAll("'", "'\\''")}'`;
export const shell = (text) => (/^[\w@%+=:,./-]+$/.test(text) ? text : quoted(text));

/** The line for curl that does the same as a request. */
export function curl(method, path, { query, body, auth = CURL_KEY } = {}) {
  const url = new URL(path.slice(1), base);
  for (const [name, value] of Object.entries(query ?? {})) if (value) url.searchParams.set(name, value);
  const parts = ['curl -sS', method === 'GET' ? '' : `-X ${method}`, quoted(url.href), auth];
  if (body !== undefined) parts.push('-H \'Content-Type: application/json\'', `-d ${quoted(JSON.stringify(body))}`);
  return parts.filter(Boolean).join(' ');
}

/** The lines that do what the page does: for curl, and for the command line where it has one. */
export function commands(request, cli) {
  return h('details', { class: 'commands' }, h('summary', {}, 'The same on the command line'),
    line(curl(...request), 'the line for curl'),
    cli && line(`key0-backend ${cli}`, 'the line for key0-backend'));
}
