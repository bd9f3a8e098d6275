// What an emulator does with each setting of a resource that its cloud accepts. docs/emulators.md
// lists the tables. Nothing that a client sends is dropped in silence.

export interface Setting {
  /**
   * `supported`: it has its effect. `ignored`: kept and shown, without its effect here, with a
   * warning. `refused`: the request fails. `output`: the cloud sets it, and ignores a client's.
   */
  readonly treatment: 'supported' | 'ignored' | 'refused' | 'output';
  /** What it does here, or why it does not. */
  readonly note: string;
  /** The only values that have their effect, when there are such. */
  readonly values?: readonly unknown[];
}

/** By path, as `serviceConfig.timeoutSeconds`. A path stands for all below it without an entry. */
export type Settings = Readonly<Record<string, Setting>>;

/** Settings of one resource that have no effect, as sentences for people. */
export interface Judgement {
  readonly refused: readonly string[];
  readonly ignored: readonly string[];
  /** Paths that the table does not have. */
  readonly unknown: readonly string[];
}

export const supported = (note = '', values?: readonly unknown[]): Setting => ({
  treatment: 'supported',
  note,
  ...(values && { values }),
});
export const ignored = (note: string, values?: readonly unknown[]): Setting => ({
  treatment: 'ignored',
  note,
  ...(values && { values }),
});
export const refused = (note: string): Setting => ({ treatment: 'refused', note });
export const output = (note = ''): Setting => ({ treatment: 'output', note });

/** `count` entries with the same treatment, by their paths below `parent`. */
export function each(parent: string, names: string, setting: Setting): Settings {
  return Object.fromEntries(names.split(' ').map((name) => [parent + name, setting]));
}

/** Looks up each setting of a resource. A value that switches a setting off is none. */
export function judge(settings: Settings, resource: object): Judgement {
  const found = { refused: [] as string[], ignored: [] as string[], unknown: [] as string[] };
  walk('', resource, undefined);
  return found;

  function walk(prefix: string, record: object, above: Setting | undefined): void {
    for (const [name, value] of Object.entries(record)) {
      const path = prefix + name;
      const setting = settings[path] ?? above;
      if (isRecord(value) && hasBelow(settings, path)) walk(`${path}.`, value, setting);
      else if (value === null || value === undefined) continue;
      else if (setting === undefined) found.unknown.push(path);
      else decide(path, value, setting);
    }
  }

  function decide(path: string, value: unknown, { treatment, note, values }: Setting): void {
    const because = note === '' ? '' : `: ${note}`;
    if (values?.includes(value)) return;
    if (values && treatment === 'supported') {
      const all = values.map((one) => JSON.stringify(one)).join(', ');
      found.refused.push(`${path} ${JSON.stringify(value)} is not emulated, only ${all}${because}`);
    }
    if (isOff(value)) return;
    if (treatment === 'refused') found.refused.push(`${path} is not emulated${because}`);
    if (treatment === 'ignored') found.ignored.push(`${path} has no effect here${because}`);
  }
}

function hasBelow(settings: Settings, path: string): boolean {
  return Object.keys(settings).some((one) => one.startsWith(`${path}.`));
}

function isRecord(value: unknown): value is object {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function isOff(value: unknown): boolean {
  if (typeof value === 'object' && value !== null) return Object.keys(value).length === 0;
  // Protocol Buffers write a 64-bit number as text.
  return !value || value === '0';
}
