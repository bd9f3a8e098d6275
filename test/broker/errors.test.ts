// The catalogue of errors, the table of docs/errors.md and the codes that the sources raise are one
// and the same list.
import assert from 'node:assert/strict';
import { globSync, readFileSync } from 'node:fs';
import { DefaasError, ERRORS, problemOf, toDefaasError } from '../../broker/errors.ts';
import { problemReply } from '../../broker/http/problem.ts';

/** A code as the first argument of an error, or as a `code` member. */
const RAISED =
  /new (?:Defaas|DefaasClient|Cli|Artifact|Chain|Provider|Launch)\w*Error\(\s*'([A-Z0-9_]+)'|\b(?:fail|refuse)\(\s*'([A-Z0-9_]+)',|\bcode: '([A-Z]+_[A-Z0-9_]+)'/g;
/** Codes of another's wire, of undici, or of the audit's list of findings. */
const FOREIGN_FILES =
  /^(adapters\/(emulators|\w+\/emulator|http\/dispatchers)|broker\/client\/(audit|receipt-faults))/;

describe('errors of the gateway', () => {
  it('are listed in docs/errors.md as in the catalogue', () => {
    const page = readFileSync('docs/errors.md', 'utf8');
    const table = page.slice(page.indexOf('<!-- codes'), page.indexOf('<!-- /codes'));

    const rows = [...table.matchAll(/^\| `([A-Z0-9_]+)` \| (\d*) \| (.+) \| (.+) \|$/gm)];

    assert.deepEqual(
      rows.map(([, code, status, title, remedy]) => [code, Number(status), title, remedy]),
      Object.entries(ERRORS).map(([code, entry]) => [
        code,
        entry.status,
        entry.title,
        entry.remedy,
      ]),
    );
  });

  it('are in the catalogue, wherever they are raised', () => {
    const files = globSync('{adapters,broker,contracts,ipfs,scripts}/**/*.{ts,mjs}').filter(
      (path) => !FOREIGN_FILES.test(path) && !path.includes('/examples/'),
    );
    const unknown = files.flatMap((path) =>
      [...readFileSync(path, 'utf8').matchAll(RAISED)]
        .map(([, first, second, third]) => first ?? second ?? third ?? '')
        .filter((code) => !Object.hasOwn(ERRORS, code))
        .map((code) => `${code} in ${path}`),
    );

    assert.deepEqual(unknown, []);
  });

  it('keep the code and message of a known error, and hide the message of an unknown one', () => {
    const leaf = Object.assign(new Error('block x is not found'), { code: 'ARTIFACT_NOT_FOUND' });

    assert.deepEqual(
      [toDefaasError(leaf).code, toDefaasError(leaf).status],
      ['ARTIFACT_NOT_FOUND', 404],
    );
    assert.equal(toDefaasError(new Error('secret')).code, 'INTERNAL');
    assert.doesNotMatch(toDefaasError(new Error('secret')).message, /secret/);
  });

  it('become problem documents with their members', () => {
    const error = new DefaasError('PAYMENT_REQUIRED', '5 units are missing', {
      members: { needUnits: '5' },
    });

    const problem = problemOf(error, 'r1');

    assert.equal(problem.status, 402);
    assert.equal(problem.code, 'PAYMENT_REQUIRED');
    assert.equal(problem.needUnits, '5');
    assert.equal(problem.instance, 'urn:defaas:request:r1');
  });

  it('report a bad token in the scheme that was tried, and nothing when no token was sent', () => {
    const challenges = (code: keyof typeof ERRORS, authorization?: string, error?: string) =>
      problemReply(new DefaasError(code, 'no', error === undefined ? {} : { members: { error } }), {
        id: 'r1',
        authorization,
      })
        .headers.filter(([name]) => name === 'www-authenticate')
        .map(([, value]) => value);
    const dpop = 'DPoP algs="ES256 EdDSA"';

    for (const [code, word] of [
      ['TOKEN_INVALID', 'invalid_token'],
      ['TOKEN_SCOPE', 'insufficient_scope'],
    ] as const) {
      assert.deepEqual(challenges(code, 'Bearer x'), [`Bearer error="${word}"`, dpop]);
      assert.deepEqual(challenges(code, 'dpop x'), ['Bearer', `${dpop}, error="${word}"`]);
    }
    assert.deepEqual(challenges('DPOP_INVALID', 'DPoP x', 'invalid_dpop_proof'), [
      'Bearer',
      `${dpop}, error="invalid_dpop_proof"`,
    ]);
    assert.deepEqual(challenges('TOKEN_INVALID', 'Basic x'), ['Bearer', dpop]);
    assert.deepEqual(challenges('TOKEN_MISSING'), ['Bearer', dpop]);
    assert.deepEqual(challenges('NOT_GRANTED', 'Bearer x'), []);
  });
});
