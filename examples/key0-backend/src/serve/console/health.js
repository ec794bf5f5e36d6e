// Whether all is well: the strip on every page, the plots, secrets and open doors.

import { call, commands, session } from './api.js';
import { $, ago, announce, fact, fault, h, mono, pill, svg } from './dom.js';
import { secretsTable } from './secrets.js';

const EVERY = 10_000;
const FIRST = 2_000;
const HOUR = 3_600_000;
const LEAST = 300_000;
/** What the page itself and probes ask for says nothing of the traffic. */
const OWN = new Set(['/metrics', '/ready', '/health', '/console', '/console/{file}']);

let timer;
let round = 0;
let ready = null;
let notReady = null;
/** Why there are no metrics. */
let unmeasured = 'Sign in to see more.';
/** What went wrong with the last look at the metrics. */
let problem = null;
let samples = [];
let scraped = [];
let shown = () => {};
/** The paths that ask for nothing, and should. */
let open = [];

/** Prometheus' text as `{name, labels, value}`. */
export function parse(text) {
  const found = [];
  for (const one of text.split('\n')) {
    const match = /^([a-z0-9_]+)(?:\{(.*)\})? (\S+)$/.exec(one);
    if (!match) continue;
    const labels = Object.fromEntries([...(match[2] ?? '').matchAll(/([a-z0-9_]+)="((?:[^"\\]|\\.)*)"/g)].map(([, name, value]) => [name, value.replace(/\\(.)/g, '$1')]));
    found.push({ name: match[1], labels, value: Number(match[3]) });
  }
  return found;
}

function sampleOf(metrics) {
  const sample = { at: Date.now(), requests: 0, refusals: 0, errors: 0, hits: 0, lookups: 0, waiting: 0, buckets: new Map() };
  for (const { name, labels, value } of metrics) {
    if (name === 'key0_http_requests_total' && !OWN.has(labels.route)) {
      sample.requests += value;
      if (labels.status >= 500) sample.errors += value;
      else if (labels.code !== 'ok') sample.refusals += value;
    } else if (name === 'key0_http_request_seconds_bucket' && !OWN.has(labels.route)) {
      sample.buckets.set(labels.le, (sample.buckets.get(labels.le) ?? 0) + value);
    } else if (name === 'key0_cache_lookups_total') {
      sample.lookups += value;
      if (labels.outcome !== 'miss') sample.hits += value;
    } else if (name === 'key0_payments_waiting') sample.waiting = value;
  }
  return sample;
}

/** Of a counter: a restart begins at nothing again. */
const grown = (from, to) => (to >= from ? to - from : to);

/** The part of requests that is given, in milliseconds, as the histogram's bounds tell it. */
function quantile(from, to, part) {
  const bounds = [...to.buckets].map(([bound, count]) => [bound === '+Inf' ? Infinity : Number(bound), grown(from.buckets.get(bound) ?? 0, count)]).sort(([a], [b]) => a - b);
  const all = bounds.at(-1)?.[1] ?? 0;
  if (!all) return null;
  let below = 0;
  let least = 0;
  for (const [bound, count] of bounds) {
    if (count >= part * all) {
      if (bound === Infinity) return least * 1000;
      return (least + (bound - least) * ((part * all - below) / (count - below))) * 1000;
    }
    [below, least] = [count, bound];
  }
  return null;
}

/** What is plotted: each of what happened between two samples. */
function between(from, to) {
  const seconds = (to.at - from.at) / 1000;
  const lookups = grown(from.lookups, to.lookups);
  return {
    at: to.at,
    requests: grown(from.requests, to.requests) / seconds,
    refusals: grown(from.refusals, to.refusals) / seconds * 60,
    errors: grown(from.errors, to.errors) / seconds * 60,
    p50: quantile(from, to, 0.5),
    p99: quantile(from, to, 0.99),
    hits: lookups ? grown(from.hits, to.hits) / lookups * 100 : null,
    waiting: to.waiting,
  };
}

async function look(mine) {
  const before = ready ?? notReady;
  try {
    // A backend that is not ready says so by a 503 with the same body.
    ready = await call('GET', '/ready', { headers: {} });
    notReady = null;
  } catch (error) {
    ready = null;
    notReady = error;
  }
  if (mine !== round) return;
  if (before && Boolean(ready) !== Boolean(before.checks)) announce(ready ? 'The backend is ready' : 'The backend is not ready');
  if (session.role && unmeasured === null) {
    try {
      const text = await call('GET', '/metrics', { kind: 'text' });
      if (mine !== round) return;
      const found = parse(text);
      if (!found.some(({ name }) => name === 'key0_build_info')) {
        throw { title: 'GET /metrics answered with something that is no metrics.', message: 'Is a proxy or another program in between?' };
      }
      scraped = found;
      samples = [...samples.filter(({ at }) => Date.now() - at < HOUR), sampleOf(scraped)];
      problem = null;
    } catch (error) {
      if (mine !== round) return;
      if (error.status === 403) unmeasured = 'A support key may not read /metrics on this listener.';
      else problem = error;
    }
  }
  drawStrip();
  shown();
  // The first two samples make the first point.
  timer = setTimeout(() => look(mine), samples.length === 1 ? FIRST : EVERY);
}

/** Begins to look, for whoever is signed in now. */
export function start() {
  stop();
  unmeasured = session.role ? null : 'Sign in to see more.';
  drawStrip();
  look(round);
}

export function stop() {
  clearTimeout(timer);
  round++;
  samples = [];
  scraped = [];
  problem = null;
  open = [];
}

const number = (value, digits = 0) => (value == null ? '–' : value.toLocaleString('en', { maximumFractionDigits: value < 10 ? Math.max(digits, 1) : digits }));
const millis = (value) => (value == null ? '–' : `${number(value)} ms`);

/** The last minute. */
function lately() {
  const last = samples.at(-1);
  const first = last && samples.find(({ at }) => last.at - at <= 65_000);
  return last && first !== last ? between(first, last) : null;
}

function drawStrip() {
  const item = (title, value, tone = '', kind = '') => h('div', { class: `${tone} ${kind}` }, h('dt', {}, title), h('dd', {}, value));
  const check = (title, of, kind) => item(title, of ?? '…', of === 'failed' ? 'bad' : of ? 'good' : '', of === 'failed' ? '' : kind);
  // What is told of a 503 stands in the problem.
  const checks = ready?.checks ?? notReady?.body?.checks ?? {};
  const now = lately();
  const items = [];
  if (notReady && notReady.code === 'network') items.push(item('Backend', notReady.message, 'bad'));
  else items.push(item('Backend', ready?.status ?? notReady?.body?.status ?? '…', ready ? 'good' : notReady ? 'bad' : ''), check('Store', checks.store), check('Writes', checks.writes, 'wide'), check('Feed', checks.feed));
  if (open.length) items.push(item('Open to everybody', open.length === 1 ? open[0] : `${open.length} paths`, 'bad'));
  if (problem) items.push(item('Metrics', problem.title, 'bad'));
  else if (session.role && unmeasured === null) {
    items.push(
      item('Requests', now ? `${number(now.requests, 1)}/s` : '…', '', 'wide figure'),
      item('Refusals', now ? `${number(now.refusals)}/min` : '…', '', 'figure'),
      item('Errors', now ? `${number(now.errors)}/min` : '…', now?.errors ? 'bad' : '', 'figure'),
      item('p50, p99', now ? (now.p50 == null ? '–' : `${millis(now.p50)}, ${millis(now.p99)}`) : '…', '', 'wide'),
      item('Cache', now?.hits == null ? '–' : `${number(now.hits)}%`, '', 'wide'),
      item('Waiting', samples.length ? number(samples.at(-1).waiting) : '…', samples.at(-1)?.waiting ? 'warn' : '', 'wide'));
  }
  $('strip').replaceChildren(h('dl', {}, items));
}

/** One plot: `lines` are `[name, points]`, where a point is `[when, value]`. */
function plot(title, lines, told, about) {
  const now = Date.now();
  const values = lines.flatMap(([, points]) => points.map(([, value]) => value)).filter((value) => value != null);
  const most = Math.max(...values, 0);
  const top = most || 1;
  // A page that was opened just now has little to show: it is given the room.
  const span = Math.min(HOUR, Math.max(LEAST, now - (samples[0]?.at ?? now)));
  const from = now - span;
  const paths = lines.map(([, points], index) => {
    let path = '';
    let last = null;
    for (const [at, value] of points) {
      if (value == null) { last = null; continue; }
      const joined = last !== null && at - last < 6 * EVERY;
      path += `${joined ? 'L' : 'M'}${((at - from) / span * 300).toFixed(1)} ${(76 - value / top * 72).toFixed(1)}`;
      // A point that stands alone is a line without length.
      if (!joined) path += 'h.01';
      last = at;
    }
    return svg('path', { d: path || 'M0 76', class: `line-${index}` });
  });
  const current = told(lines.map(([, points]) => points.at(-1)?.[1]));
  return h('figure', { class: 'card' },
    h('figcaption', {}, h('span', {}, title), h('strong', {}, current)),
    svg('svg', { viewBox: '0 0 300 80', preserveAspectRatio: 'none', role: 'img', 'aria-label': `${title}, since ${ago(from)}: now ${current}, max ${about(most)}` },
      svg('path', { d: 'M0 76H300M0 40H300M0 4H300', class: 'rule' }), ...paths),
    h('p', { class: 'axis muted' }, h('span', {}, ago(from)), h('span', {}, `max ${about(most)}`), h('span', {}, 'now')));
}

const GUARDED = new Set(['internal', 'introspect', 'keys', 'v1', 'refusals', 'purchases', 'audit']);

/** What the backend's own document tells: its paths, and those that are open and should not be. */
export async function served(signal) {
  const { paths } = await call('GET', '/openapi.json', { headers: {}, signal });
  const isOpen = ([path, item]) => GUARDED.has(path.split('/')[1]) && Object.values(item).some(({ security }) => !security?.length);
  open = Object.entries(paths).filter(isOpen).map(([path]) => path);
  drawStrip();
  return paths;
}

async function exposure(place, signal) {
  try {
    const paths = await served(signal);
    place.replaceChildren(
      open.length ? h('ul', { class: 'note bad', role: 'alert' }, open.map((path) => h('li', {}, h('strong', {}, 'Open to everybody: '), mono(path)))) : h('p', {}, pill('good', 'closed'), ' Each endpoint of Key0, operators and partners asks for a credential.'),
      paths['/metrics']?.get.security?.length ? '' : h('p', { class: 'muted' }, 'This is a listener of the operator\'s own: whoever reaches it may read /metrics.'));
  } catch (error) {
    if (!signal.aborted) place.replaceChildren(fault(error, () => exposure(place, signal)));
  }
}

function understood() {
  const of = (name, label) => [...new Set(scraped.filter((it) => it.name === name).map(({ labels }) => labels[label]))].filter(Boolean).join(', ');
  const value = (name, labels = {}) => scraped.find((it) => it.name === name && Object.entries(labels).every(([label, is]) => it.labels[label] === is))?.value;
  const heard = value('key0_feed_heard_timestamp_seconds');
  return h('dl', {},
    fact('Version', of('key0_build_info', 'version')),
    fact('Store', of('key0_store_seconds_count', 'engine')),
    fact('Listeners', of('key0_connections_limit', 'listener')),
    fact('Connections', of('key0_connections_limit', 'listener').split(', ').map((listener) => `${listener} ${value('key0_connections', { listener }) ?? 0} of ${value('key0_connections_limit', { listener }) ?? '?'}`).join(' · ')),
    fact('Changes heard', heard ? ago(heard * 1000) : ''),
    fact('Last reload', value('key0_config_faulty') ? pill('bad', 'faulty: the configuration before goes on') : 'good, or none'),
    fact('Instances', 'This one answered; others can\'t be known from here.'));
}

/** The page. It draws itself again with every look. */
export function page(_, view) {
  const plots = h('div', { class: 'plots' });
  const { place: secrets, draw: drawSecrets } = secretsTable();
  const config = h('div', {});
  const exposed = h('div', {}, h('p', { class: 'muted' }, 'Loading…'));
  const note = h('div', {});
  const draw = () => {
    const points = samples.slice(1).map((to, index) => between(samples[index], to));
    const of = (name) => points.map((point) => [point.at, point[name]]);
    const per = (unit, digits) => (value) => `${number(value, digits)}${unit}`;
    const first = (tell) => ([value]) => (value == null ? '–' : tell(value));
    note.replaceChildren(problem ? fault(problem) : unmeasured ? h('p', { class: 'note warn' }, unmeasured, ' Plots and secrets need it.') : '');
    plots.hidden = unmeasured !== null;
    plots.replaceChildren(
      plot('Requests', [['', of('requests')]], first(per('/s', 1)), per('/s', 1)),
      plot('Refusals', [['', of('refusals')]], first(per('/min')), per('/min')),
      plot('Errors', [['', of('errors')]], first(per('/min')), per('/min')),
      plot('p50, p99', [['p50', of('p50')], ['p99', of('p99')]], ([half, most]) => (half == null ? '–' : `${millis(half)}, ${millis(most)}`), millis),
      plot('Cache hits', [['', of('hits')]], first(per('%')), per('%')),
      plot('Payments waiting', [['', of('waiting')]], first(per('')), per('')));
    drawSecrets(scraped, unmeasured ?? 'Loading…');
    config.replaceChildren(scraped.length ? understood() : h('p', { class: 'muted' }, unmeasured ?? 'Loading…'));
  };
  shown = draw;
  view.signal.addEventListener('abort', () => { shown = () => {}; });
  draw();
  exposure(exposed, view.signal);
  return [
    h('h1', {}, 'Health'),
    h('p', { class: 'muted' }, `Drawn from /metrics every ${EVERY / 1000} seconds while this page is open, up to an hour back.`),
    note, plots,
    h('section', { class: 'card' }, h('h2', {}, 'Exposure'), exposed),
    h('section', { class: 'card' }, h('h2', {}, 'Secrets'), secrets),
    h('section', { class: 'card' }, h('h2', {}, 'Configuration'), config,
      h('p', { class: 'muted' }, 'Every variable with its source, on the host: ', mono('key0-backend doctor'))),
    commands(['GET', '/metrics'], 'doctor'),
  ];
}
