// Where a payer can call, from the chain alone: the registered gateways at which the payer has an
// open lane.
import type { ChainView } from '../../contracts/chain/types.ts';
import type { Address } from '../../contracts/libraries/keccak.ts';

export interface FoundLane {
  readonly gateway: Address;
  /** The gateway's endpoint, as it registered it. */
  readonly url: string;
  readonly payer: Address;
  /** The key that spends from it. */
  readonly signer: Address;
  readonly mode: 'prepaid' | 'signed';
  /**
   * The payer's line there without the thawing amount, base units. The chain does not show
   * unsettled calls, so the rest may be less.
   */
  readonly lineUnits: bigint;
}

/** All lanes that take calls at `nowSec`, those with the most money on the line first. */
export function findLanes(
  view: Pick<ChainView, 'lines' | 'lanes' | 'gateway'>,
  payer: Address,
  nowSec = Date.now() / 1000,
): FoundLane[] {
  const found = view.lines(payer).flatMap(({ gateway, allotted, thawing }): FoundLane[] => {
    const url = view.gateway(gateway)?.uri ?? '';
    const lineUnits = allotted > thawing ? allotted - thawing : 0n;
    if (!URL.canParse(url) || lineUnits === 0n) return [];
    return view
      .lanes(payer, gateway)
      .filter(({ expirySec, settled, cap }) => expirySec > nowSec && settled < cap)
      .map(({ signer, mode }) => ({
        gateway,
        url,
        payer,
        signer,
        mode: mode === 2 ? 'signed' : 'prepaid',
        lineUnits,
      }));
  });
  return found.toSorted((a, b) => Number(b.lineUnits - a.lineUnits));
}
