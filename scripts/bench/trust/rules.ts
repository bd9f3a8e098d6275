// The rules that keep trust, each with the change of source that switches it off and the games that
// miss it.
import { readFileSync } from 'node:fs';
import type { Hex } from '../../../contracts/libraries/keccak.ts';
import { compile } from '../../mutation/solc.ts';
import type { Build } from './evm.ts';
import type { GameName } from './games.ts';

export interface Rule {
  readonly name: string;
  readonly contract: 'Billing' | 'Disputes' | 'Identity';
  /** Source texts, each there once, and what stands in their place. */
  readonly off: readonly (readonly [from: string, to: string])[];
  readonly games: readonly GameName[];
}

export const RULES: readonly Rule[] = [
  {
    name: 'a claim says on which state of the lane it was made',
    contract: 'Billing',
    off: [['claim.seqFrom != lane.seq || ', '']],
    games: ['lostBatch'],
  },
  {
    name: 'an answer opens the Call and the Execution',
    contract: 'Disputes',
    off: [['_verifyOpening(leaf, call, execution);\n        if (BILLING', 'if (BILLING']],
    games: ['lies'],
  },
  {
    name: 'an answer in a signed lane has the signature over its Call',
    contract: 'Disputes',
    off: [
      [
        'if (!Signatures.isFromKey(place.signer, digest, callSignature)) revert InvalidProof();',
        '',
      ],
    ],
    games: ['lies'],
  },
  {
    name: 'silence costs all that the claim took',
    contract: 'Disputes',
    off: [
      [
        'uint256 damage = _deltaOf(place);',
        'uint256 damage = _deltaOf(place) / (place.seqTo - place.seqFrom);',
      ],
    ],
    games: ['lies'],
  },
  {
    name: 'a claim is repaid once',
    contract: 'Disputes',
    off: [['if (toPayer > 0) _repaid[s.claim] = s.repaid + toPayer;', '']],
    games: ['lies'],
  },
  {
    name: 'a lie costs three times its damage',
    contract: 'Disputes',
    off: [['uint256 free = 3 * s.damage;', 'uint256 free = s.damage;']],
    games: ['lies'],
  },
  {
    name: 'the payer gets a third of a slash at most',
    contract: 'Disputes',
    off: [
      ['Math.min(s.damage, s.amount / 3)', 'Math.min(s.damage, (s.amount * 2) / 5)'],
      ['uint256 free = 3 * s.damage;', 'uint256 free = 2 * s.damage;'],
    ],
    games: ['launder'],
  },
  {
    name: 'the reporter gets a twelfth of a slash',
    contract: 'Disputes',
    off: [['s.amount / 12', 's.amount / 7']],
    games: ['launder'],
  },
  {
    name: 'omissions take a quarter of the bond at most',
    contract: 'Disputes',
    off: [['if (kind == D2_OMISSION) free = 0;', '']],
    games: ['theft'],
  },
  {
    name: 'floors take a quarter of the bond at most',
    contract: 'Disputes',
    off: [
      [
        'uint256 tied = Math.min(s.wanted - free, _room(',
        'uint256 tied = Math.max(s.wanted - free, 0 * _room(',
      ],
    ],
    games: ['theft'],
  },
  {
    name: 'the cap looks back over two buckets',
    contract: 'Disputes',
    off: [['uint256(s.bucket.current) + s.bucket.previous', 'uint256(s.bucket.current)']],
    games: ['theft'],
  },
  {
    name: 'a later proof pays what the first left open',
    contract: 'Disputes',
    off: [['if (!s.isFirst && s.damage == 0)', 'if (!s.isFirst)']],
    games: ['lies'],
  },
  {
    name: 'a misroute is proven once for an epoch and a deployment',
    contract: 'Disputes',
    off: [
      [
        'bytes32 id = idOfMisroute(place.gateway, call.beacon, execution.deployment);',
        'bytes32 id = _idAt(D6_MISROUTE, place, leaf.receipt.seq);',
      ],
    ],
    games: ['otherEpoch'],
  },
  {
    name: 'evidence by a key counts by the time of the settlement',
    contract: 'Identity',
    off: [
      [
        'settledAt <= uint256(k.until) + KEY_EVIDENCE',
        'block.timestamp <= uint256(k.until) + KEY_EVIDENCE',
      ],
    ],
    games: ['lies'],
  },
  {
    name: 'who has less than MIN_BOND standing settles no more',
    contract: 'Billing',
    off: [['if (standingBond < MIN_BOND && block.timestamp > g.settleUntil) {', 'if (false) {']],
    games: ['exit', 'burnFirst'],
  },
  {
    name: 'a slash below MIN_BOND ends settling after LINE_THAW',
    contract: 'Billing',
    off: [['uint32 until = _timeIn(LINE_THAW);', 'uint32 until = type(uint32).max;']],
    games: ['burnFirst'],
  },
  {
    name: 'unbonding below MIN_BOND ends settling before the bond is gone',
    contract: 'Billing',
    off: [['until = _timeIn(UNBOND - PROOF_WINDOW);', 'until = type(uint32).max;']],
    games: ['exit'],
  },
  {
    name: 'a slash holds an unbonding back',
    contract: 'Billing',
    off: [['if (g.unbondEnd < least) g.unbondEnd = least;', '']],
    games: ['exit'],
  },
  {
    name: 'a bond that may leave covers nothing',
    contract: 'Billing',
    off: [
      ['if (block.timestamp >= g.unbondEnd) return (_standingBond(g.bond, g.unbonding), 0);', ''],
    ],
    games: ['theft'],
  },
  {
    name: 'a batch pays back what its payee collected ahead',
    contract: 'Billing',
    off: [
      ['if (due.advanced > 0 && amount > 0) amount -= _refill(gateway, payee, due, amount);', ''],
    ],
    games: ['payee'],
  },
  {
    name: 'a permit must be one',
    contract: 'Billing',
    off: [
      [
        'IERC20Permit(address(TOKEN)).permit(account, address(this), amount, deadline, v, r, s);',
        'try IERC20Permit(address(TOKEN)).permit(account, address(this), amount, deadline, v, r, s) {} catch {}',
      ],
    ],
    games: ['orderly'],
  },
  {
    name: 'a top-up passes over who has nothing',
    contract: 'Billing',
    off: [['amount == 0) continue;', 'amount == 0) revert InsufficientFree(0, 0);']],
    games: ['orderly'],
  },
];

const SOURCES = {
  Billing: 'contracts/Billing.sol',
  Disputes: 'contracts/Disputes.sol',
  Identity: 'contracts/Identity.sol',
} as const;

/** The contract without the rule, compiled. */
export function buildWithout(rule: Rule): Build {
  const { contract } = rule;
  const file = SOURCES[contract];
  const compiled = compile([file], new Map([[file, sourceWithout(rule)]]))[file]?.[contract];
  if (!compiled) throw new Error(`${file} did not compile`);
  const bytecode: Hex = `0x${compiled.evm.bytecode.object}`;
  return { [contract]: bytecode };
}

/**
 * The contract's source without the rule.
 * @throws Error  a text of the rule does not stand there exactly once
 */
export function sourceWithout({ name, contract, off }: Rule): string {
  const file = SOURCES[contract];
  let source = readFileSync(file, 'utf8');
  for (const [from, to] of off) {
    if (source.split(from).length !== 2) {
      throw new Error(`${name}: "${from}" does not stand exactly once in ${file}`);
    }
    source = source.replace(from, () => to);
  }
  return source;
}
