// How the command was called: what it tells the user to run next can be typed as it stands.
import { styleText } from 'node:util';

/** `npx defaas`, `npm run -s defaas --` or `defaas`, by the variables that npm sets. */
export function typedForm(env: Readonly<Record<string, string | undefined>>): string {
  const { npm_lifecycle_event: event, npm_lifecycle_script: script, npm_package_name: of } = env;
  if (event === 'npx' && /^'?defaas\b/.test(script ?? '')) return 'npx defaas';
  const isScript = of === 'defaas' && (event === 'defaas' || event === 'start');
  return isScript ? 'npm run -s defaas --' : 'defaas';
}

/** The text with each `defaas <command>` in the form in which the command was called. */
export function asTyped(text: string, form = typedForm(process.env)): string {
  return text.replaceAll(/(?<![\w./-]|npx )defaas (?=[a-z])/g, `${form} `);
}

/** Writes an error line, its code in red on a terminal (not with NO_COLOR). */
export function showError(line: string): void {
  const { stderr } = process;
  const isColoured = stderr.isTTY && !process.env.NO_COLOR;
  const [code = ''] = /^[A-Z][A-Z0-9_]*(?=: )/.exec(line) ?? [];
  const shown = isColoured && code !== '' ? styleText('red', code, { stream: stderr }) : code;
  stderr.write(`${shown}${asTyped(line.slice(code.length))}\n`);
}
