// The tables of docs/emulators.md, from what the emulators hold.

import {
  APP_SETTINGS,
  PLAN_SETTINGS,
  SITE_SETTINGS,
} from '../../adapters/azure/emulator/settings.ts';
import type { Settings } from '../../adapters/emulators/settings.ts';
import { FUNCTION_SETTINGS } from '../../adapters/google/emulator/operations/settings.ts';

/** By the name of the table's marker in the page. */
export const TABLES: Readonly<Record<string, string>> = {
  'google-function': table(FUNCTION_SETTINGS),
  'azure-site': table(SITE_SETTINGS),
  'azure-app-settings': table(APP_SETTINGS),
  'azure-plan': table(PLAN_SETTINGS),
};

/** Neighbours with the same treatment and note share a row. */
function table(settings: Settings): string {
  const rows: { paths: string[]; text: string }[] = [];
  for (const [path, { treatment, note, values }] of Object.entries(settings)) {
    const list = values?.map((one) => `\`${JSON.stringify(one)}\``).join(', ');
    const only = list && (treatment === 'ignored' ? `but ${list}` : `${list} only`);
    const what = treatment === 'output' ? 'set by the cloud' : treatment;
    const text = `${what} | ${[only, note].filter(Boolean).join('; ')} |`;
    const last = rows.at(-1);
    if (last?.text === text) last.paths.push(path);
    else rows.push({ paths: [path], text });
  }
  const lines = rows.map(({ paths, text }) => {
    return `| ${paths.map((path) => `\`${path}\``).join(', ')} | ${text}`;
  });
  return ['| setting | | |', '| --- | --- | --- |', ...lines].join('\n');
}
