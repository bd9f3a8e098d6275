// Compares `.env.example` with the environment variables that the code reads; `check` runs it.

/**
 * Matches our own variables anywhere in a source, and others that are read from an object named
 * `env` or by name.
 */
const READ =
  /\b(DEFAAS_[A-Z0-9_]*[A-Z0-9])\b|\benv(?:\.|\[['"])([A-Z][A-Z0-9_]+)\b|\bneeded\('([A-Z][A-Z0-9_]+)'/g;

/** Variables that the shell, npm, tools or `npm run fuzz` set; they are no configuration. */
const SURROUNDINGS = [
  'PATH',
  'INIT_CWD',
  'FORCE_COLOR',
  'NO_COLOR',
  'NODE_COMPILE_CACHE',
  'NODE_OPTIONS',
  'NODE_USE_ENV_PROXY',
  'NO_PROXY',
  'FUZZ_RUNS',
  'FUZZ_SEED',
];

/**
 * Differences, one line each: variables read but not listed in `.env.example`, and the other way
 * round.
 */
export function compareVariables(example: string, sources: readonly string[]): string[] {
  const listed = new Set(
    [...example.matchAll(/^#?\s?([A-Z][A-Z0-9_]+)=/gm)].map(([, name]) => name),
  );
  const read = new Set(
    sources.flatMap((text) =>
      [...text.matchAll(READ)].map(([, own, read, named]) => own ?? read ?? named),
    ),
  );
  for (const name of SURROUNDINGS) read.delete(name);
  return [
    ...[...read]
      .filter((name) => !listed.has(name))
      .map((name) => `${name} is read, but not in .env.example`),
    ...[...listed]
      .filter((name) => !read.has(name))
      .map((name) => `${name} is in .env.example, but nothing reads it`),
  ];
}
