// The games against the contracts. Each draws its strategies from fast-check, plays one on a chain
// of its own, and returns its outcome in the terms of the rules of trust.

import { game } from './game.ts';
import { lostBatch, orderly, otherEpoch, payee } from './honest.ts';
import { burnFirst, exit, launder, lies } from './liars.ts';
import { payerStrategies, payLyingGateway } from './payer.ts';
import { hostile } from './siege.ts';
import { theft } from './theft.ts';

/** The client's checks and ceilings against a gateway that shows it what it likes. */
const payer = game(payerStrategies, payLyingGateway);

export const GAMES = {
  payer,
  lies,
  burnFirst,
  exit,
  launder,
  theft,
  hostile,
  lostBatch,
  payee,
  otherEpoch,
  orderly,
} as const;
export type GameName = keyof typeof GAMES;
