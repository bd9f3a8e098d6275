// Suites of what a caller sees over HTTP run twice: plain calls read by the fast path, and every
// request read by Node's server.
import type { Suite } from 'mocha';

/** `describe`, once with each value of the setting `fastPath`. */
export function describeBothWays(
  title: string,
  body: (this: Suite, fastPath: boolean) => void,
): void {
  for (const fastPath of [true, false]) {
    describe(`${title}, fast path ${fastPath ? 'on' : 'off'}`, function () {
      body.call(this, fastPath);
    });
  }
}
