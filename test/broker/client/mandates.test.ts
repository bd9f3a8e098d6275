// What a mandate still allows, and which receipts are none of it: the client's side, which the gateway cannot move.
import assert from 'node:assert/strict';
import type { HeldMandate } from '../../../broker/client/lane-memory.ts';
import {
  ANY_FUNCTION,
  allowanceOf,
  faultUnder,
  mandatedNonce,
} from '../../../broker/client/mandates.ts';
import type { ReceiptDocument } from '../../../broker/client/receipts.ts';
import type { Hex } from '../../../contracts/libraries/keccak.ts';

const word = (byte: string): Hex => `0x${byte.repeat(32)}`;
const address = (byte: string): Hex => `0x${byte.repeat(20)}`;
const DAY_SEC = 86_400;
/** Noon of a day. */
const NOON_SEC = 20_000 * DAY_SEC + DAY_SEC / 2;
const TODAY = new Date(NOON_SEC * 1000).toISOString().slice(0, 10);
const YESTERDAY = new Date((NOON_SEC - DAY_SEC) * 1000).toISOString().slice(0, 10);

function held(changes: Partial<HeldMandate> & { readonly functionId?: bigint } = {}): HeldMandate {
  const { functionId = 7n, ...rest } = changes;
  return {
    hash: word('ab'),
    mandate: {
      payer: address('01'),
      gateway: address('02'),
      signer: address('03'),
      kind: 2,
      subject: word('00'),
      functionId,
      maxPrice: 50n,
      perDay: 100n,
      total: 180n,
      untilSec: NOON_SEC + DAY_SEC,
      serial: 1n,
    },
    spent: new Map(),
    ...rest,
  };
}

/** Only what is looked at. */
function receipt(
  of: { price?: bigint; atSec?: number; item?: Hex; nonce?: Hex } = {},
): ReceiptDocument {
  const { price = 20n, atSec = NOON_SEC, item = word('11') } = of;
  return {
    item,
    call: { nonce: of.nonce ?? mandatedNonce(word('ab'), item) },
    receipt: { price },
    execution: { finishedAtSec: atSec },
  } as unknown as ReceiptDocument;
}

const faultOf = (document: ReceiptDocument, of = held(), functionId = 7n) =>
  faultUnder(of, document, functionId, NOON_SEC * 1000);

describe('mandates', () => {
  it('allow what is left in all and of their days, and nothing once they are over or revoked', () => {
    const at = (of: HeldMandate, sec = NOON_SEC) => allowanceOf(of, sec * 1000);

    assert.equal(at(held()), 180n);
    assert.equal(at(held(), NOON_SEC + DAY_SEC - DAY_SEC / 4), 100n);
    assert.equal(at(held({ spent: new Map([[YESTERDAY, 30n]]) })), 150n);
    assert.equal(at(held({ spent: new Map([[TODAY, 90n]]) })), 90n);
    assert.equal(at(held({ spent: new Map([[TODAY, 180n]]) })), 0n);
    assert.equal(at(held(), NOON_SEC + DAY_SEC), 0n);
    assert.equal(at(held({ revokedAtMs: NOON_SEC * 1000 })), 0n);
  });

  it('cover a receipt within them, also of a call that began before they were closed', () => {
    assert.equal(faultOf(receipt()), undefined);
    assert.equal(faultOf(receipt(), held({ functionId: ANY_FUNCTION }), 9n), undefined);
    const justClosed = held({ revokedAtMs: (NOON_SEC - 60) * 1000 });
    assert.equal(faultOf(receipt(), justClosed), undefined);
    assert.equal(faultOf(receipt({ price: 0n }), held({ revokedAtMs: 0 })), undefined);
  });

  for (const [what, document, of, functionId] of [
    ['a nonce that its item does not give', receipt({ nonce: word('99') }), held(), 7n],
    ['another function', receipt(), held(), 8n],
    ['a price above it', receipt({ price: 51n }), held(), 7n],
    ['a closed mandate', receipt(), held({ revokedAtMs: (NOON_SEC - 3600) * 1000 }), 7n],
    ['a day after its end', receipt({ atSec: NOON_SEC + 2 * DAY_SEC }), held(), 7n],
    ['a day that has not come', receipt({ atSec: NOON_SEC + DAY_SEC / 2 }), held(), 7n],
    ['a day that is used up', receipt(), held({ spent: new Map([[TODAY, 81n]]) }), 7n],
    ['all of it used up', receipt(), held({ spent: new Map([[YESTERDAY, 161n]]) }), 7n],
  ] as const) {
    it(`do not cover a receipt of ${what}`, () => {
      assert.equal(typeof faultOf(document, of, functionId), 'string');
    });
  }
});
