// Questions to the chain that anybody may cause: asked at most once per block, so that who repeats
// one costs no RPC call.
import type { Hex } from '../libraries/keccak.ts';

/** Most answers kept of one block. */
const MAX_ANSWERS = 10_000;

/**
 * Returns a function that asks at most once per key and block; whoever asks meanwhile shares the
 * answer. A failed question is asked again.
 */
export function createPerBlock<Answer>(
  headHash: () => Hex,
): (key: string, ask: () => Promise<Answer>) => Promise<Answer> {
  const answers = new Map<string, Promise<Answer>>();
  let at: Hex | undefined;
  return (key, ask) => {
    const head = headHash();
    if (head !== at || answers.size >= MAX_ANSWERS) answers.clear();
    at = head;
    const known = answers.get(key);
    if (known !== undefined) return known;
    const asked = ask();
    answers.set(key, asked);
    asked.catch(() => {
      if (answers.get(key) === asked) answers.delete(key);
    });
    return asked;
  };
}
