// Secrets: what each is for, when it last verified something, and whether it may go.

import { h, pill, table, time } from './dom.js';

const DAY = 86_400_000;
const ISSUANCE = ', for issuance';
const PURPOSES = [
  ['KEY0_ACCESS_TOKEN_', 'Key0\'s access tokens'],
  ['KEY0_PUBLIC_KEY', 'Key0\'s access tokens'],
  ['INTERNAL_AUTH_', 'Key0\'s own calls'],
  ['ISSUANCE_', 'keys that are issued for a payment'],
  ['GATEWAY_', 'Key0\'s gateway'],
  ['VERIFY_', 'proxies that ask at /verify'],
  ['MASTER_API_KEYS', 'operators'],
  ['SUPPORT_API_KEYS', 'support'],
  ['MINTER_API_KEYS', 'a partner'],
  ['READ_API_KEYS', 'a partner'],
];

function purposeOf(name) {
  if (name.endsWith(ISSUANCE)) return 'keys that are issued for a payment';
  return PURPOSES.find(([beginning]) => name.startsWith(beginning))?.[1] ?? '';
}

/** The secrets of this configuration, as the metrics tell of them. */
export function secretsOf(metrics) {
  const found = new Map();
  const told = { key0_secret_uses_total: 'uses', key0_secret_used_timestamp_seconds: 'used', key0_secret_configured_timestamp_seconds: 'since' };
  for (const { name, labels, value } of metrics) {
    if (!told[name]) continue;
    const of = found.get(labels.secret) ?? { name: labels.secret, uses: 0, used: 0 };
    of[told[name]] = name === 'key0_secret_uses_total' ? value : value * 1000;
    found.set(labels.secret, of);
  }
  for (const of of found.values()) {
    const root = found.get(of.name.replace(ISSUANCE, ''));
    of.since ??= root?.since;
    // A secret goes as a whole, with the keys that are derived from it.
    of.lastUsed = Math.max(of.used, root?.used ?? 0, found.get(of.name + ISSUANCE)?.used ?? 0);
  }
  // One that has left the configuration is no longer there to drop.
  return [...found.values()].filter(({ since }) => since !== 0)
    .sort((one, other) => purposeOf(one.name).localeCompare(purposeOf(other.name)) || one.name.localeCompare(other.name));
}

/** Whether a secret may leave the configuration: a word with its tone, and why. */
export function mayGo({ name, since, lastUsed }, now = Date.now()) {
  if (!name.includes('PREVIOUS')) return null;
  const quiet = Math.max(since ?? 0, lastUsed);
  if (now - quiet < DAY) {
    return lastUsed ? ['warn', 'in use: keep it', 'It has verified something in the last 24 hours.']
      : ['off', 'keep it for now', ['It has verified nothing yet. Safe to drop, if that stays so, from ', time(new Date(quiet + DAY).toISOString())]];
  }
  const days = Math.floor((now - quiet) / DAY);
  const told = `Unused for ${days === 1 ? 'a day' : `${days} days`}.`;
  return ['good', 'safe to drop', name.startsWith('KEY0_ACCESS_TOKEN_') ? `${told} Tokens that it signed and that live longer would be refused.` : told];
}

/** A setting's name, which may break where its words end. */
const setting = (name) => h('code', { class: 'setting', translate: 'no' }, name.split(/(?<=_)/).flatMap((word) => [word, h('wbr')]));

function row(secret) {
  const { name, uses, used } = secret;
  const verdict = mayGo(secret);
  const count = uses.toLocaleString('en');
  const told = () => { const [tone, word, why] = mayGo(secret); return [pill(tone, word), h('small', {}, why)]; };
  const last = () => (used ? time(new Date(used).toISOString()) : h('span', { class: 'muted' }, 'never'));
  return h('tr', {},
    h('th', { scope: 'row' }, setting(name), h('small', {}, purposeOf(name)), h('small', { class: 'less' }, `${count} uses, the last: `, last()),
      verdict && h('div', { class: 'less' }, told())),
    h('td', { class: 'roomy' }, count),
    h('td', { class: 'roomy' }, last()),
    h('td', { class: 'roomy' }, verdict ? told() : h('span', { class: 'muted' }, 'current')));
}

/** The table of secrets, and what draws it again. */
export function secretsTable() {
  const { whole, body } = table('Secrets and what they have verified', [['Secret'], ['Uses', 'roomy'], ['Last verified something', 'roomy'], ['May it go?', 'roomy']]);
  const none = h('p', { class: 'muted' });
  const draw = (metrics, without) => {
    const secrets = secretsOf(metrics);
    body.replaceChildren(...secrets.map(row));
    whole.hidden = !secrets.length;
    none.hidden = secrets.length > 0;
    none.textContent = without;
  };
  const about = h('p', { class: 'muted' }, 'Counted by this instance, under the secret\'s name and since its start; the times are of the secret that has the name now. With several instances, ask each. What this page asks for counts as a use of the key that you are signed in with.');
  return { place: [whole, none, about], draw };
}
