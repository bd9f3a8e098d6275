// Every error of the contracts is raised by some Solidity test.
import assert from 'node:assert/strict';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { artifacts } from '../../contracts/artifacts.gen.ts';

const OWN = ['FunctionRegistry', 'Identity', 'Billing', 'Disputes', 'Beacon'] as const;

/** Errors of OpenZeppelin, for cases that our contracts exclude or that its own tests cover. */
const NOT_OURS =
  /^(ERC721|ERC20|SafeERC20|ECDSA|SafeCast|Reentrancy|String|InvalidShortString|FailedCall|InvalidAccountNonce|AddressEmptyCode)/;

describe('errors of the contracts', () => {
  it('are each raised by a test', async () => {
    const folder = import.meta.dirname;
    const names = (await readdir(folder)).filter((name) => name.endsWith('.t.sol'));
    const tests = await Promise.all(names.map((name) => readFile(join(folder, name), 'utf8')));
    const text = tests.join('\n');

    const missing = OWN.flatMap((contract) => {
      return artifacts[contract].abi
        .filter((entry) => entry.type === 'error')
        .map((entry) => entry.name)
        .filter((name) => !NOT_OURS.test(name) && !text.includes(`I${contract}.${name}.selector`))
        .map((name) => `${contract}.${name}`);
    });

    assert.deepEqual(missing, []);
  });
});
