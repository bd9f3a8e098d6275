// How a command is declared, and the options that several commands share.
import type { Command } from 'commander';
import type { Flags, Outcome } from '../cli/context.ts';
import { asTyped } from '../cli/typed.ts';

export type Run = (flags: Flags, ...given: never[]) => Promise<Outcome>;

export const TO_CLOUDS = [
  '--to <clouds>',
  'comma-separated: aws, google, azure, local; default: those in defaas.json',
] as const;

export const DRY_RUN = ['--dry-run', 'simulate on the node, send nothing'] as const;

/** Declares a command: its form, what it does, and the module that does it. */
export type Add = (form: string, about: string, load: () => Promise<Run>) => Command;

export function example(words: string): string {
  return asTyped(`\nExample: defaas ${words}`);
}

export function collect(value: string, before: readonly string[]): string[] {
  return [...before, value];
}
