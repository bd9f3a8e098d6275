// Detects values and files that look like keys, before they become public with an artifact. A guard
// against accidents, not against intent.

/** Patterns of values that are keys, whatever their name. */
const KEY_FORMS = [
  /-----BEGIN [A-Z ]*PRIVATE KEY-----(\\[nr]|\s)*[A-Za-z0-9+/=]{32}/,
  /\bAKIA[0-9A-Z]{16}\b/,
  /\bAIza[0-9A-Za-z_-]{35}\b/,
  /\bgh[pousr]_[A-Za-z0-9]{36}/,
  /\bgithub_pat_[A-Za-z0-9_]{50}/,
  /\bsk[-_](live|proj|ant)[-_][A-Za-z0-9_-]{16}/,
  /\bxox[abprs]-[A-Za-z0-9-]{20}/,
  /\bnpm_[A-Za-z0-9]{36}\b/,
  /\bAccountKey=[A-Za-z0-9+/]{40}/,
  /\beyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}/,
];

/** A password inside an address, `scheme://user:password@host`. */
const ADDRESS_WITH_PASSWORD = /\b[a-z][a-z0-9+.-]*:\/\/[^\s:@/]+:[^\s:@/]+@/i;

const SECRET_NAME =
  /(^|_)(SECRET|TOKEN|PASSWORD|PASSWD|PASSPHRASE|MNEMONIC|CREDENTIALS?|KEY|APIKEY)$/i;
const PUBLIC_NAME = /PUBLIC|PUBLISHABLE/i;

/** A 32-byte hex word counts as a private key unless its name says otherwise. */
const WORD = /^(0x)?[0-9a-f]{64}$/i;
const WORD_NAME = /(HASH|TOPIC|ROOT|DIGEST|ID|BLOCK|TX|SALT|VERSION)$/i;

const SECRET_FILE =
  /(^|\/)(\.env(\.(?!example$|sample$).+)?|\.npmrc|\.netrc|id_(rsa|dsa|ecdsa|ed25519)|credentials(\.json)?|.+\.(pem|key|p12|pfx|jks|keystore))$/i;

/** Whether a variable of the public environment holds what should be a secret. */
export function isSecretVariable(name: string, value: string): boolean {
  if (findKey(value) || ADDRESS_WITH_PASSWORD.test(value)) return true;
  if (WORD.test(value)) return !WORD_NAME.test(name);
  return SECRET_NAME.test(name) && !PUBLIC_NAME.test(name) && value.length >= 8;
}

/** Whether a file is one that holds secrets by its name; `path` with `/`. */
export function isSecretFile(path: string): boolean {
  return SECRET_FILE.test(path);
}

/** Line, from 1, of the first thing in a source text that is certainly a key. */
export function findKey(text: string): number | undefined {
  const found = KEY_FORMS.map((form) => text.search(form)).filter((index) => index >= 0);
  if (found.length === 0) return undefined;
  return text.slice(0, Math.min(...found)).split('\n').length;
}
