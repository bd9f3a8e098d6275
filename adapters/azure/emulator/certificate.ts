// The TLS certificate of the Azure emulator. Azure's SDK refuses to send a bearer token over plain
// HTTP, so every port has TLS. Each folder of an emulator has an authority of its own.
//
// Node reads certificates but does not issue them. The usual library (@peculiar/x509) costs 22 MB
// resident, 4.5 MB on disk and a polyfill of Reflect. One certificate needs little DER (X.690), so
// this file writes it.

import {
  generateKeyPairSync,
  type KeyObject,
  randomBytes,
  sign,
  X509Certificate,
} from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { writeWhole } from '../../runtime/whole-file.ts';

export interface Certificate {
  /** Certificate of the authority that clients trust. */
  readonly caPem: string;
  readonly certPem: string;
  readonly keyPem: string;
}

const DAY_MS = 24 * 3600 * 1000;
const VALID_MS = 3650 * DAY_MS;
/** Replace a certificate that ends sooner than this. */
const RENEW_MS = 30 * DAY_MS;

/**
 * The certificate in the folder, or a new one: EC P-256, for 127.0.0.1 and localhost. The
 * authority's private key is not kept.
 */
export async function loadCertificate(dir: string): Promise<Certificate> {
  const path = join(dir, 'certificate.json');
  const kept = await readFile(path, 'utf8').then(JSON.parse, () => undefined);
  if (kept && isLasting(kept.certPem)) return kept;

  const made = issueCertificate();
  await writeWhole(path, JSON.stringify(made));
  return made;
}

function isLasting(certPem: string): boolean {
  return Date.parse(new X509Certificate(certPem).validTo) - Date.now() > RENEW_MS;
}

export function issueCertificate(): Certificate {
  // Names the authority's key (RFC 5280 sections 4.2.1.1 and 4.2.1.2).
  const keyId = randomBytes(20);
  const newKeys = () => generateKeyPairSync('ec', { namedCurve: 'prime256v1' });
  const [ca, leaf] = [newKeys(), newKeys()];
  const caName = `DeFaaS Azure emulator ${randomBytes(4).toString('hex')}`;
  const hosts = sequence(
    // GeneralName: [7] iPAddress, [2] dNSName (RFC 5280 section 4.2.1.6).
    der(0x87, Buffer.of(127, 0, 0, 1)),
    der(0x82, Buffer.from('localhost')),
  );
  return {
    caPem: certify(caName, caName, ca.publicKey, ca.privateKey, [
      extension('2.5.29.19', true, sequence(TRUE)),
      extension('2.5.29.15', true, bits(0x04, 2)),
      extension('2.5.29.14', false, der(0x04, keyId)),
    ]),
    certPem: certify('127.0.0.1', caName, leaf.publicKey, ca.privateKey, [
      extension('2.5.29.19', true, sequence()),
      extension('2.5.29.15', true, bits(0x80, 7)),
      // serverAuth
      extension('2.5.29.37', false, sequence(identifier('1.3.6.1.5.5.7.3.1'))),
      extension('2.5.29.17', false, hosts),
      extension('2.5.29.35', false, sequence(der(0x80, keyId))),
    ]),
    keyPem: leaf.privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(),
  };
}

/** A certificate (RFC 5280 section 4.1), PEM. */
function certify(
  subject: string,
  issuer: string,
  key: KeyObject,
  issuerKey: KeyObject,
  extensions: readonly Buffer[],
): string {
  // ecdsa-with-SHA256
  const algorithm = sequence(identifier('1.2.840.10045.4.3.2'));
  // A first octet below 0x80 makes the number positive.
  const serial = Buffer.concat([Buffer.of(0x01), randomBytes(15)]);
  const tbs = sequence(
    // version 3
    der(0xa0, der(0x02, Buffer.of(2))),
    der(0x02, serial),
    algorithm,
    commonName(issuer),
    sequence(utcTime(Date.now() - DAY_MS), utcTime(Date.now() + VALID_MS)),
    commonName(subject),
    key.export({ type: 'spki', format: 'der' }),
    der(0xa3, sequence(...extensions)),
  );
  const certificate = sequence(tbs, algorithm, bitString(sign('sha256', tbs, issuerKey)));
  const lines = certificate.toString('base64').match(/.{1,64}/g) ?? [];
  return `-----BEGIN CERTIFICATE-----\n${lines.join('\n')}\n-----END CERTIFICATE-----\n`;
}

const TRUE = der(0x01, Buffer.of(0xff));

function extension(oid: string, isCritical: boolean, value: Buffer): Buffer {
  return sequence(identifier(oid), ...(isCritical ? [TRUE] : []), der(0x04, value));
}

function commonName(text: string): Buffer {
  const attribute = sequence(identifier('2.5.4.3'), der(0x0c, Buffer.from(text)));
  return sequence(der(0x31, attribute));
}

/** `YYMMDDHHMMSSZ`, for dates until 2049 (RFC 5280 section 4.1.2.5.1). */
function utcTime(ms: number): Buffer {
  const digits = new Date(ms).toISOString().replaceAll(/\D/g, '').slice(2, 14);
  return der(0x17, Buffer.from(`${digits}Z`));
}

function identifier(oid: string): Buffer {
  const [first = 0, second = 0, ...rest] = oid.split('.').map(Number);
  const octets = [first * 40 + second, ...rest].flatMap((number) => {
    const groups = [number & 0x7f];
    for (let left = number >>> 7; left > 0; left >>>= 7) groups.unshift((left & 0x7f) | 0x80);
    return groups;
  });
  return der(0x06, Buffer.from(octets));
}

function sequence(...parts: readonly Buffer[]): Buffer {
  return der(0x30, Buffer.concat(parts));
}

function bitString(bytes: Buffer): Buffer {
  return der(0x03, Buffer.concat([Buffer.of(0), bytes]));
}

/** A bit string of one octet. Its last `unused` bits do not count. */
function bits(octet: number, unused: number): Buffer {
  return der(0x03, Buffer.of(unused, octet));
}

/** Tag, length, value (X.690 section 8.1). */
function der(tag: number, value: Buffer): Buffer {
  const { length } = value;
  if (length < 0x80) return Buffer.concat([Buffer.of(tag, length), value]);
  const size =
    length < 0x100 ? Buffer.of(0x81, length) : Buffer.of(0x82, length >> 8, length & 0xff);
  return Buffer.concat([Buffer.of(tag), size, value]);
}
