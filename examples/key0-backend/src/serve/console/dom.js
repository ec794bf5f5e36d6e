// What every view is made of. Texts become text nodes and nothing else: no markup is ever parsed.

const SVG = 'http://www.w3.org/2000/svg';

/** An element: attributes, listeners (functions) and children (nodes and texts). */
export function h(tag, attributes, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

export function svg(tag, attributes, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (typeof value === 'function') element.addEventListener(name, value);
    else if (value === true) element.setAttribute(name, '');
    else if (value !== false && value != null) element.setAttribute(name, value);
  }
  element.append(...children.flat(Infinity).filter((child) => child != null && child !== false));
  return element;
}

export const $ = (id) => document.getElementById(id);

let said = 0;
/** Says something to whoever listens to the page rather than looks at it. */
export function announce(text) {
  // The same text twice is said twice only if it differs.
  $('live').textContent = text + (said++ % 2 ? '\u00a0' : '');
}

/** A text that others have written, whatever directions and marks it holds. */
export const foreign = (text) => h('bdi', { dir: 'auto', class: 'foreign' }, text);
export const mono = (text) => h('code', { translate: 'no' }, h('bdi', {}, text));

const pad = (number) => String(number).padStart(2, '0');
const clock = (date, get) => `${pad(date[`get${get}Hours`]())}:${pad(date[`get${get}Minutes`]())}:${pad(date[`get${get}Seconds`]())}`;
const day = (date, get) => `${date[`get${get}FullYear`]()}-${pad(date[`get${get}Month`]() + 1)}-${pad(date[`get${get}Date`]())}`;

/** An instant in UTC, and by the clock on the wall where that differs. */
export function time(iso) {
  if (!iso) return h('span', { class: 'muted' }, '–');
  const date = new Date(iso);
  if (Number.isNaN(date.getTime())) return foreign(String(iso));
  const here = date.getTimezoneOffset() !== 0;
  const local = day(date, '') === day(date, 'UTC') ? '' : `${day(date, '')} `;
  return h('time', { datetime: iso, title: `${ago(date)} (${iso})` },
    h('span', {}, `${day(date, 'UTC')} ${clock(date, 'UTC')} UTC`),
    here && h('small', {}, `${local}${clock(date, '')} local`));
}

const STEPS = [[60, 'second'], [60, 'minute'], [24, 'hour'], [365, 'day'], [Infinity, 'year']];
const relative = new Intl.RelativeTimeFormat('en', { numeric: 'auto' });
export function ago(date) {
  let amount = (new Date(date) - Date.now()) / 1000;
  for (const [size, unit] of STEPS) {
    if (Math.abs(amount) < size) return relative.format(Math.round(amount), unit);
    amount /= size;
  }
  return '';
}

/** A state by its word; the colour says the same again. */
export const pill = (tone, text) => h('span', { class: `pill ${tone}` }, text);

/** A button of which any number of clicks has one effect: further ones count from its end on. */
export function button(text, act, { tone = '', refused = null, label = null } = {}) {
  const element = h('button', { type: 'button', class: tone, 'aria-label': label }, text);
  if (refused) {
    element.setAttribute('aria-disabled', 'true');
    element.title = refused;
    element.addEventListener('click', () => announce(refused));
  } else {
    element.addEventListener('click', () => once(element, act));
  }
  return element;
}

export async function once(element, act) {
  if (element.getAttribute('aria-busy')) return;
  element.setAttribute('aria-busy', 'true');
  try {
    await act();
  } finally {
    element.removeAttribute('aria-busy');
  }
}

export async function copy(text, element) {
  try {
    await navigator.clipboard.writeText(text);
    announce('Copied');
    const before = element.textContent;
    element.textContent = 'Copied';
    setTimeout(() => { element.textContent = before; }, 1500);
  } catch {
    // Without HTTPS there is no clipboard: the text is selected, for the keyboard to copy.
    const node = element.parentElement?.querySelector('code');
    if (node) getSelection().selectAllChildren(node);
    announce('This browser gives no clipboard here: the text is selected');
  }
}

/** A line to copy. */
export function line(text, what) {
  const element = h('button', { type: 'button', class: 'quiet small', 'aria-label': `Copy ${what}` }, 'Copy');
  element.addEventListener('click', () => copy(text, element));
  return h('div', { class: 'line' }, h('code', { tabindex: '0', role: 'group', 'aria-label': what, translate: 'no' }, text), element);
}

/** What went wrong, and what to do about it. */
export function fault(error, retry) {
  return h('div', { class: 'note bad', role: 'alert' },
    h('strong', {}, error.title ?? 'Something went wrong'), ' ',
    foreign(/[.!?]$/.test(error.message) ? error.message : `${error.message}.`), ' ',
    error.help && h('span', {}, error.help, ' '),
    error.requestId && h('span', { class: 'muted' }, 'Request ', mono(error.requestId), ' '),
    retry && button('Try again', retry, { tone: 'small' }));
}

export const empty = (text, ...more) => h('div', { class: 'empty' }, h('p', {}, text), ...more);

/** A name and its value, as a row of a list of facts; none where there is no value. */
export const fact = (name, value) =>
  value == null || value === '' ? null : h('div', {}, h('dt', {}, name), h('dd', {}, value));

export function field(label, control, help) {
  control.id ||= `field-${++fields}`;
  const about = help && h('small', { id: `${control.id}-about` }, help);
  if (about) control.setAttribute('aria-describedby', about.id);
  return h('div', { class: 'field' }, h('label', { for: control.id }, label), control, about);
}
let fields = 0;

export function select(options, value, change) {
  const element = h('select', change ? { change } : {},
    options.map(([of, text]) => h('option', { value: of, selected: of === (value ?? '') }, text)));
  return element;
}

/** A table whose columns are `[title, class?]`, with a head and rows to be filled. */
export function table(caption, columns, rows = []) {
  const body = h('tbody', {}, rows);
  const heads = columns.map(([title, kind]) => h(title ? 'th' : 'td', { scope: title ? 'col' : null, class: kind }, title));
  const whole = h('div', { class: 'scroll', tabindex: '0', role: 'region', 'aria-label': caption },
    h('table', {}, h('caption', { class: 'hidden' }, caption), h('thead', {}, h('tr', {}, heads)), body));
  return { whole, body };
}

/**
 * A dialog around a form. `act` returns true where it is to close. While it runs the dialog stays, and
 * `stop` is what Cancel does. `then` follows where nobody knows whether it was done.
 */
export function dialog(title, parts, { confirm, tone = 'primary', act, refresh, stop, then }) {
  let unsure = false;
  const problem = h('div', {});
  const go = h('button', { type: 'submit', class: tone }, confirm);
  const close = h('button', { type: 'button', class: 'quiet', click: () => (close.dataset.running ? stop() : box.close()) }, 'Cancel');
  const form = h('form', { autocomplete: 'off' }, parts, problem, h('div', { class: 'actions' }, close, go));
  const heading = h('h2', { id: `title-${++fields}` }, title);
  const box = h('dialog', { 'aria-labelledby': heading.id }, heading, form);
  form.addEventListener('submit', (event) => {
    event.preventDefault();
    once(go, async () => {
      problem.replaceChildren();
      box.setAttribute('closedby', 'none');
      close.dataset.running = 'true';
      close.disabled = !stop;
      try {
        if (await act(box)) box.close();
      } catch (error) {
        unsure ||= error.unsure;
        problem.replaceChildren(fault(error));
      } finally {
        box.removeAttribute('closedby');
        delete close.dataset.running;
        close.disabled = false;
      }
    });
  });
  if (refresh) {
    form.addEventListener('input', refresh);
    refresh();
  }
  const before = document.activeElement;
  // For browsers that do not know `closedby`.
  box.addEventListener('cancel', (event) => { if (close.dataset.running) event.preventDefault(); });
  box.addEventListener('close', () => {
    box.remove();
    (before?.isConnected ? before : document.querySelector('main h1'))?.focus();
    if (unsure) then?.();
  });
  document.body.append(box);
  box.showModal();
  return box;
}
