import assert from 'node:assert/strict';
import { isDue, type LaneDue } from '../../../broker/settlement/due.ts';

const CYCLE_SEC = 600;
const DAY_SEC = 86_400;
const GAS = 10n;

const lane = (changes: Partial<LaneDue>): LaneDue => ({
  owedUnits: 100n * GAS - 1n,
  gasUnits: GAS,
  worthFactor: 100,
  cycleSec: CYCLE_SEC,
  sinceSec: 0,
  nowSec: 0,
  expirySec: 30 * DAY_SEC,
  leavesAtSec: undefined,
  isPressing: false,
  ...changes,
});

describe('a lane', () => {
  it('is due at once when it owes a hundred times its gas, and not before', () => {
    assert.equal(isDue(lane({})), false);
    assert.equal(isDue(lane({ owedUnits: 100n * GAS })), true);
  });

  it('is due after a week of cycles when it owes less than that, and never when it owes less than its gas', () => {
    const old = { nowSec: 28 * CYCLE_SEC };
    assert.equal(isDue(lane({ nowSec: 28 * CYCLE_SEC - 1 })), false);
    assert.equal(isDue(lane(old)), true);
    assert.equal(isDue(lane({ ...old, owedUnits: GAS })), true);
    assert.equal(isDue(lane({ ...old, owedUnits: GAS - 1n })), false);
    assert.equal(isDue(lane({ ...old, owedUnits: GAS - 1n, isPressing: true })), false);
  });

  it('is due by time only where gas is free, and never with free receipts alone', () => {
    const free = { gasUnits: 0n, owedUnits: 1n };
    assert.equal(isDue(lane({ ...free, nowSec: CYCLE_SEC - 1 })), false);
    assert.equal(isDue(lane({ ...free, nowSec: CYCLE_SEC })), true);
    assert.equal(isDue(lane({ gasUnits: 0n, owedUnits: 0n, nowSec: 100 * CYCLE_SEC })), false);
  });

  it('is due when a quarter of a thaw is over, and when it ends in less than two cycles', () => {
    const thaw = { leavesAtSec: 400 };
    assert.equal(isDue(lane({ ...thaw, nowSec: 99 })), false);
    assert.equal(isDue(lane({ ...thaw, nowSec: 100 })), true);
    assert.equal(isDue(lane({ expirySec: 2 * CYCLE_SEC })), false);
    assert.equal(isDue(lane({ expirySec: 2 * CYCLE_SEC - 1 })), true);
  });

  it('is due at once when unsettled receipts are about to make the gateway refuse its payer', () => {
    assert.equal(isDue(lane({ owedUnits: GAS, isPressing: true })), true);
  });
});
