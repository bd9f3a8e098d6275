// Each refusal of Disputes has a code that a user can act on.
import assert from 'node:assert/strict';
import { Interface } from 'ethers';
import { artifacts } from '../../contracts/artifacts.gen.ts';
import { revertedOf } from '../../contracts/chain/chain-error.ts';

const ID = `0x${'11'.repeat(32)}`;

describe('chain errors of disputes', () => {
  it('are told apart by code', () => {
    const disputes = new Interface(artifacts.Disputes.abi);
    const cases: readonly (readonly [name: string, args: unknown[], code: string])[] = [
      ['InvalidProof', [], 'PROOF_INVALID'],
      ['NoFraud', [], 'NO_FRAUD'],
      ['AlreadyProven', [ID], 'ALREADY_PROVEN'],
      ['CapReached', [7n], 'NOTHING_TO_SLASH'],
      ['NothingToSlash', [`0x${'22'.repeat(20)}`], 'NOTHING_TO_SLASH'],
      ['WindowClosed', [7n], 'WINDOW_CLOSED'],
      ['DemandOpen', [ID], 'DEMAND_KNOWN'],
      ['AnsweredBefore', [ID], 'DEMAND_KNOWN'],
      ['NotDemanded', [ID], 'NOT_DEMANDED'],
      ['StillOpen', [7n], 'DEMAND_OPEN'],
    ];

    for (const [name, args, code] of cases) {
      const error = revertedOf('disputes.prove', disputes.encodeErrorResult(name, args));

      assert.equal(error.code, code, name);
      assert.match(error.message, new RegExp(`^disputes\\.prove reverted: ${name}\\(`));
    }
  });
});
