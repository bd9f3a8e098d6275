import assert from 'node:assert/strict';
import { lintText } from '../../scripts/lint-solidity.ts';

/** Lines of the rule about opcodes for a function with this body. */
function forbidden(body: string, fileName = 'contracts/Billing.sol'): string[] {
  const source = `contract A { function f(address payable a, IERC20 t) external { ${body} } }`;
  return lintText(source, fileName).filter((line) => line.includes('no-forbidden-opcode'));
}

describe('lintSolidity', () => {
  it('reports EVM features that the contracts must not use, in Solidity and in assembly', () => {
    const bodies = [
      'block.prevrandao;',
      'block.difficulty;',
      'block.basefee;',
      'block.blobbasefee;',
      'block.number;',
      'tx.gasprice;',
      'blobhash(0);',
      'selfdestruct(a);',
      'a.transfer(1);',
      'a.send(1);',
      'assembly { let x := prevrandao() }',
      'assembly { let x := basefee() }',
      'assembly { let x := gasprice() }',
      'assembly { let x := blobhash(0) }',
      'assembly { let x := number() }',
      'assembly { selfdestruct(a) }',
    ];

    const passed = bodies.filter((body) => forbidden(body).length !== 1);

    assert.deepEqual(passed, []);
  });

  it('allows time, hashes and tokens, and allows Beacon the block number', () => {
    assert.deepEqual(forbidden('block.timestamp; blockhash(1); block.chainid;'), []);
    assert.deepEqual(forbidden('t.transfer(a, 1);'), []);
    assert.deepEqual(forbidden('block.number;', 'contracts/Beacon.sol'), []);
    assert.equal(forbidden('block.prevrandao;', 'contracts/Beacon.sol').length, 1);
  });
});
