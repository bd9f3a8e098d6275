// Detects values and files that look like keys, before they become public with an artifact. A guard
// against accidents, not against intent.

/** Patterns of values that are keys, whatever their name. */
const KEY_FORMS = [
  /-----BEGIN [A-Z ]*PRIVATE KEY-----(\\[nr]|\s)*[A-Za-z0-9+/=]{32}/,
  /\bAKIA[0-9A-Z]{16}\b/,
  /\bAIza[0-9A-Za-z_-]{35}\b/,
  /\bgh[pousr]_[A-Za-z0-9]{36}/,
  /\bgithub_pat_[A-Za-z0-9_]{50}/,
  /\b[sr]k[-_](live|proj|ant)[-_][A-Za-z0-9_-]{16}/,
  /\bglpat-[A-Za-z0-9_-]{20}/,
  /\bSG\.[A-Za-z0-9_-]{22}\.[A-Za-z0-9_-]{43}/,
  /\bGOCSPX-[A-Za-z0-9_-]{28}/,
  /\bxox[abprs]-[A-Za-z0-9-]{20}/,
  /\bnpm_[A-Za-z0-9]{36}\b/,
  /\bAccountKey=[A-Za-z0-9+/]{40}/,
  /\beyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}/,
];

/** A password inside an address, `scheme://user:password@host`. */
const ADDRESS_WITH_PASSWORD = /\b[a-z][a-z0-9+.-]*:\/\/[^\s:@/]+:[^\s:@/]+@/i;

/** Names of secrets, also `PGPASSWORD`, `clientSecret`, `API_KEY_2`. */
const SECRET_NAME =
  /((SECRET|PASSWORD|PASSWD|PASSPHRASE|MNEMONIC|APIKEY)|(^|_)(TOKEN|CREDENTIALS?|KEY|PASS|PWD))(_?V?\d+)?$/i;
const CAMEL_NAME = /[a-z0-9](Token|Credentials?|Key|Pass|Pwd)\d*$/;
const PUBLIC_NAME = /PUBLIC|PUBLISHABLE/i;
/** Keys of tables, caches, queues and pages: names that anybody may know. */
const LOOKUP_NAME =
  /(PARTITION|SORT|PRIMARY|FOREIGN|HASH|RANGE|ROW|SHARD|CACHE|LOOKUP|OBJECT|ROUTING|GROUP|ORDERING|IDEMPOTENCY|DEDUPLICATION|STORAGE|INDEX|SITE)_?KEY$/i;
/** No secret may stand under such a name, whatever its value looks like. */
const STRICT_NAME = /(SECRET|PASSWORD|PASSWD|PASSPHRASE|MNEMONIC)/i;

/** An account's or a contract's address, and names under which a cloud keeps a secret. */
const ADDRESS = /^0x[0-9a-f]{40}$/i;
const REFERENCE = /^(arn:[a-z-]+:|projects\/[^/]+\/)/;

/** A 32-byte hex word counts as a private key unless its name says otherwise. */
const WORD = /^(0x)?[0-9a-f]{64}$/i;
const WORD_NAME = /(HASH|TOPIC|ROOT|DIGEST|ID|BLOCK|TX|SALT|VERSION)$/i;

const SECRET_FILE =
  /(^|\/)(\.env(\.(?!example$|sample$).+)?|\.npmrc|\.netrc|id_(rsa|dsa|ecdsa|ed25519)|credentials(\.json)?|.+\.(pem|key|p12|pfx|jks|keystore))$/i;
/** A file of these is public if each of its blocks is (RFC 7468). */
const PEM_FILE = /\.(pem|key)$/i;
const PEM_LABELS = /-----BEGIN ([^\n-]+)-----/g;
const PUBLIC_LABEL =
  /^((TRUSTED |X509 )?CERTIFICATE|(RSA )?PUBLIC KEY|X509 CRL|CERTIFICATE REQUEST|(DH|EC) PARAMETERS)$/;

/** Whether a variable of the public environment holds what should be a secret. */
export function isSecretVariable(name: string, value: string): boolean {
  if (findKey(value) || ADDRESS_WITH_PASSWORD.test(value)) return true;
  if (WORD.test(value)) return !WORD_NAME.test(name);
  const isNamed = SECRET_NAME.test(name) || CAMEL_NAME.test(name);
  if (!isNamed || PUBLIC_NAME.test(name) || LOOKUP_NAME.test(name)) return false;
  if (value.length < 8 || isPublicPem(value) || REFERENCE.test(value)) return false;
  return STRICT_NAME.test(name) || !ADDRESS.test(value);
}

/**
 * Whether a file is one that holds secrets by its name, `path` with `/`. PEM files also hold
 * certificates and public keys: their text decides.
 */
export function isSecretFile(path: string, text: string): boolean {
  if (!SECRET_FILE.test(path)) return false;
  return !(PEM_FILE.test(path) && isPublicPem(text));
}

function isPublicPem(text: string): boolean {
  const labels = [...text.matchAll(PEM_LABELS)].map(([, label = '']) => label);
  return labels.length > 0 && labels.every((label) => PUBLIC_LABEL.test(label));
}

/** Line, from 1, of the first thing in a source text that is certainly a key. */
export function findKey(text: string): number | undefined {
  const found = KEY_FORMS.map((form) => text.search(form)).filter((index) => index >= 0);
  if (found.length === 0) return undefined;
  return text.slice(0, Math.min(...found)).split('\n').length;
}
