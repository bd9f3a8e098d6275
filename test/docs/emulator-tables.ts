// The tables of docs/emulators.md, from what the emulators hold.

import type { Settings } from '../../adapters/emulators/settings.ts';
import { FUNCTION_SETTINGS } from '../../adapters/google/emulator/operations/settings.ts';

/** By the name of the table's marker in the page. */
export const TABLES: Readonly<Record<string, string>> = {
  'google-function': table(FUNCTION_SETTINGS),
};

function table(settings: Settings): string {
  const rows = Object.entries(settings).map(([path, { treatment, note, values }]) => {
    const only = values && `${values.map((one) => `\`${one}\``).join(', ')} only`;
    const what = treatment === 'output' ? 'set by the cloud' : treatment;
    return `| \`${path}\` | ${what} | ${[only, note].filter(Boolean).join('; ')} |`;
  });
  return ['| setting | | |', '| --- | --- | --- |', ...rows].join('\n');
}
