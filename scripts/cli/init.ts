// `defaas init <folder>`: a new function folder from a template.
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { CliError } from './cli-error.ts';
import type { Flags, Outcome } from './context.ts';
import { PACKAGE_ROOT, userPath } from './house.ts';

const TEMPLATES = join(PACKAGE_ROOT, 'scripts/examples');
/** Files that every function gets, beside the templates: types and their settings. */
const SHARED = ['defaas.d.ts', 'tsconfig.json'];
const SCHEMA = join(PACKAGE_ROOT, 'ipfs/defaas.schema.json');
/** Files that a run leaves in a template's folder. They are not copied. */
const NOT_COPIED = ['node_modules', 'package-lock.json'];

/**
 * Creates `<folder>` and names the function after it.
 * @throws CliError FOLDER_EXISTS it is there and not empty; NAME_INVALID its name is none for a
 *   function; USAGE no such template
 */
export async function init(
  _flags: Flags,
  folder: string,
  options: { readonly template: string },
): Promise<Outcome> {
  const target = userPath(folder);
  const name = basename(target);
  const templates = readdirSync(TEMPLATES, { withFileTypes: true })
    .filter((entry) => entry.isDirectory())
    .map((entry) => entry.name);
  if (!templates.includes(options.template)) {
    throw new CliError(
      'USAGE',
      `no template ${options.template}, choose one of ${templates.join(', ')}`,
    );
  }
  if (!/^[a-z0-9-]{1,63}$/.test(name)) {
    throw new CliError(
      'NAME_INVALID',
      `"${name}" is no name for a function, on ${target}, use a-z, 0-9 and -, at most 63`,
    );
  }
  if (existsSync(target) && readdirSync(target).length > 0) {
    throw new CliError(
      'FOLDER_EXISTS',
      `the folder is there and not empty, on ${target}, choose another name`,
    );
  }
  mkdirSync(target, { recursive: true });
  const source = join(TEMPLATES, options.template);
  cpSync(source, target, {
    recursive: true,
    filter: (path) => !NOT_COPIED.includes(basename(path)),
  });
  for (const file of SHARED) cpSync(join(TEMPLATES, file), join(target, file));
  cpSync(SCHEMA, join(target, basename(SCHEMA)));
  for (const file of ['defaas.json', 'package.json']) rename(join(target, file), name);
  const next =
    existsSync(join(target, 'package.json')) && hasDependencies(target)
      ? `npm --prefix ${folder} install, then defaas deploy ${folder}`
      : `defaas deploy ${folder}`;
  return {
    document: {
      folder: target,
      name,
      template: options.template,
      files: readdirSync(target).sort(),
    },
    text: `${target} is a function called ${name}; next: ${next}`,
  };
}

/** Replaces the name and the schema's place in a JSON file. The rest of the text stays. */
function rename(file: string, name: string): void {
  if (!existsSync(file)) return;
  const text = readFileSync(file, 'utf8')
    .replace(/("name"\s*:\s*)"[^"]*"/, `$1"${name}"`)
    .replace(/("\$schema"\s*:\s*)"[^"]*"/, `$1"./${basename(SCHEMA)}"`);
  writeFileSync(file, text);
}

function hasDependencies(folder: string): boolean {
  const { dependencies } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'));
  return Object.keys(dependencies ?? {}).length > 0;
}
