// A key as it is shown: its name, its state and what it opens.

import { foreign, h, mono, pill } from './dom.js';

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
