import assert from 'node:assert/strict';
import { createCircuit } from '../../../broker/routing/circuit.ts';

describe('circuit', () => {
  it('opens after three failures in a row, and lets one call try again after its pause', () => {
    const circuit = createCircuit();
    const seen: boolean[] = [];

    for (const nowMs of [0, 1, 2]) {
      seen.push(circuit.isOpen(nowMs));
      circuit.failed(nowMs);
    }
    seen.push(circuit.isOpen(3), circuit.isOpen(502));
    circuit.began(502);
    seen.push(circuit.isOpen(503));

    assert.deepEqual(seen, [false, false, false, true, false, true]);
  });

  it('doubles its pause up to five seconds', () => {
    const circuit = createCircuit();
    let nowMs = 0;
    for (let i = 0; i < 10; i += 1) circuit.failed(nowMs);

    assert.deepEqual([circuit.isOpen(4_999), circuit.isOpen(5_000)], [true, false]);
    nowMs = 5_000;
    circuit.began(nowMs);
    assert.equal(circuit.isOpen(nowMs + 1), true);
  });

  it('closes with the first success', () => {
    const circuit = createCircuit();
    for (let i = 0; i < 5; i += 1) circuit.failed(0);

    circuit.succeeded();

    assert.equal(circuit.isOpen(1), false);
  });
});
