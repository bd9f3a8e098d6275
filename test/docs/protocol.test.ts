// docs/protocol.md equals the code: its examples are computed again, its tables compared.
import assert from 'node:assert/strict';
import { globSync, readFileSync } from 'node:fs';
import { Interface } from 'ethers';
import { ERRORS } from '../../broker/errors.ts';
import { artifacts } from '../../contracts/artifacts.gen.ts';
import { keccak256Hex } from '../../contracts/libraries/keccak.ts';
import { CALL_TYPE, EXECUTION_TYPE, RECEIPT_TYPE } from '../../contracts/libraries/receipts.ts';
import { TYPES } from '../../contracts/libraries/typed-data.ts';
import { PAGE, RECOMPUTE, readExamples } from './protocol-page.ts';

describe('docs/protocol.md', () => {
  const page = readFileSync(PAGE, 'utf8');
  const examples = readExamples(page);

  for (const { name, given, gives } of examples) {
    it(`has an example "${name}" that the code computes in the same way`, async () => {
      assert.deepEqual(await RECOMPUTE[name]?.(given), gives);
    });
  }

  it('has an example of everything that is hashed, once', () => {
    assert.deepEqual(
      examples.map(({ name }) => name).toSorted(),
      Object.keys(RECOMPUTE).toSorted(),
    );
    assert.equal(page.match(/^```json example/gm)?.length, examples.length);
  });

  it('lists every signed type with the hash of its type string', () => {
    const section = sectionOf(page, '### 3.2');
    const types = [...section.matchAll(/^\| \S+ \| `(\w+\([^`]+\))` \| `(0x[0-9a-f]{64})` \|$/gm)];
    const own = Object.entries(TYPES).map(
      ([type, fields]) => `${type}(${fields.map((one) => `${one.type} ${one.name}`).join(',')})`,
    );

    assert.deepEqual(
      types.map(([, type]) => type ?? '').toSorted(),
      [...new Set([...own, CALL_TYPE, RECEIPT_TYPE, EXECUTION_TYPE])].toSorted(),
    );
    for (const [, type = '', hash] of types) assert.equal(hashOf(type), hash, type);
  });

  it('lists functions of the contracts with their selectors', () => {
    const rows = [
      ...page.matchAll(/^\| (\w+) \| `(\w+\([\w,[\]]*\))` \| `(0x[0-9a-f]{8})` \| .+ \|$/gm),
    ];

    assert.ok(rows.length >= 15);
    for (const [, contract = '', signature = '', selector] of rows) {
      assert.equal(interfaceOf(contract).getFunction(signature)?.selector, selector, signature);
    }
  });

  it('lists events of the contracts with their topics, names and what is indexed', () => {
    const section = sectionOf(page, '## 18');
    const rows = [
      ...section.matchAll(/^\| (\w+) \| `(\w+)\(([^`]*)\)` \| `(0x[0-9a-f]{64})` \|$/gm),
    ];

    assert.ok(rows.length >= 15);
    for (const [, contract = '', name = '', inputs, topic] of rows) {
      const event = interfaceOf(contract).getEvent(name);
      const written = event?.inputs.map(
        (one) => `${one.format('sighash')}${one.indexed ? ' indexed' : ''} ${one.name}`,
      );
      assert.deepEqual([inputs, topic], [written?.join(', '), event?.topicHash], name);
    }
  });

  it('lists every code of a problem document as the catalogue has it', () => {
    const rows = [...page.matchAll(/^\| `([A-Z0-9_]+)` \| (\d+) \| (.+) \| (.+) \|$/gm)];

    assert.deepEqual(
      rows.map(([, code, status, title, remedy]) => [code, Number(status), title, remedy]),
      Object.entries(ERRORS)
        .filter(([, { status }]) => status > 0)
        .map(([code, { status, title, remedy }]) => [code, status, title, remedy]),
    );
  });

  it('lists every route of the gateway', () => {
    const sources = globSync('broker/routes/*.ts').map((path) => readFileSync(path, 'utf8'));
    const routes = sources.flatMap((source) => {
      const [, named] = /const url = '([^']+)'/.exec(source) ?? [];
      const calls = source.matchAll(
        /server\.(get|put|post|delete)(?:<[^(]*>)?\(\s*(?:'([^']+)'|(url))/g,
      );
      return [...calls].map(([, method = '', path, isNamed]) => {
        const url = (isNamed ? named : path) ?? '';
        return `${method.toUpperCase()} ${url.replaceAll(/:(\w+)/g, '{$1}')}`;
      });
    });
    const rows = [...page.matchAll(/^\| `((?:GET|PUT|POST|DELETE) \/\S*)` \|/gm)];

    assert.ok(routes.length >= 35);
    assert.deepEqual(rows.map(([, route]) => route).toSorted(), routes.toSorted());
  });
});

/** From a heading to the next one. */
function sectionOf(page: string, heading: string): string {
  const [, section = ''] = page.split(`\n${heading} `);
  return section.split(/^#{1,3} /m, 1)[0] ?? '';
}

function hashOf(text: string): string {
  return keccak256Hex(new TextEncoder().encode(text));
}

function interfaceOf(contract: string): Interface {
  const found = Object.entries(artifacts).find(([name]) => name === contract);
  assert.ok(found, `${contract} is no contract`);
  return new Interface(found[1].abi);
}
