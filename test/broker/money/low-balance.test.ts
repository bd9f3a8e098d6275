// A balance that runs low is told with every call and logged once.
import assert from 'node:assert/strict';
import pino from 'pino';
import { createLowBalance } from '../../../broker/money/low-balance.ts';
import type { Address } from '../../../contracts/libraries/keccak.ts';

const GATEWAY: Address = `0x${'11'.repeat(20)}`;
const PAYER: Address = `0x${'22'.repeat(20)}`;
const OTHER: Address = `0x${'33'.repeat(20)}`;

function open() {
  const lines: string[] = [];
  const log = pino({}, { write: (line: string) => void lines.push(line) });
  const nowMs = () => Date.parse('2026-11-22T12:00:00Z');
  const balance = createLowBalance({ gateway: GATEWAY, log, nowMs });
  return { balance, events: () => lines.map((line) => JSON.parse(line).event) };
}

describe('a low balance', () => {
  it('is less than a fifth of what the line was filled to', () => {
    const { balance, events } = open();

    assert.equal(balance.lookAt(PAYER, 200n, 1000n), undefined);
    assert.equal(balance.lookAt(PAYER, 199n, 1000n), 199n);
    assert.equal(balance.lookAt(PAYER, -1n, 1000n), -1n);
    assert.equal(balance.lookAt(OTHER, 0n, 0n), undefined);

    const [{ id, ...event }] = events();
    assert.match(id, /^[0-9a-f-]{36}$/);
    assert.deepEqual(event, {
      specversion: '1.0',
      type: 'defaas.balance.low',
      source: `urn:defaas:gateway:${GATEWAY}`,
      subject: PAYER,
      time: '2026-11-22T12:00:00.000Z',
      data: { payer: PAYER, leftUnits: '199', allottedUnits: '1000' },
    });
  });

  it('is logged once per payer and crossing, not per call, and not again when a hold is taken and released', () => {
    const { balance, events } = open();

    for (const left of [210n, 190n, 180n, 220n, 170n]) balance.lookAt(PAYER, left, 1000n);
    balance.lookAt(OTHER, 1n, 1000n);
    const before = events().length;
    balance.lookAt(PAYER, 1170n, 1170n);
    balance.lookAt(PAYER, 200n, 1170n);

    assert.equal(before, 2);
    assert.deepEqual(
      events().map(({ subject, data }) => [subject, data.leftUnits]),
      [
        [PAYER, '190'],
        [OTHER, '1'],
        [PAYER, '200'],
      ],
    );
  });
});
