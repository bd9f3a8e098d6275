// Shared by the tests of the documents: the pages and their parts.
import { globSync, readFileSync } from 'node:fs';

/** Every page of the repository, by its path. */
export const PAGES: readonly string[] = globSync('**/*.md', {
  exclude: (path) => /(^|\/)(node_modules|\.defaas|artifacts|coverage)$/.test(path),
}).toSorted();

/** A page without its fenced blocks. */
export function proseOf(page: string): string {
  return readFileSync(page, 'utf8').replaceAll(/^(```+).*?\n[\s\S]*?^\1[ \t]*$/gm, '');
}

/** Texts of a page's headings, without marks. */
export function headingsOf(page: string): string[] {
  return [...proseOf(page).matchAll(/^#{1,6} +(.+?)(?: +#+)?$/gm)].map(([, heading = '']) =>
    heading.replaceAll(/[`*]|\]\([^)]*\)|\[/g, ''),
  );
}

/** Numbers of a page's sections: of its headings, and of rules such as `- **1.3** ...`. */
export function sectionsOf(page: string): ReadonlySet<string> {
  const rules = [...proseOf(page).matchAll(/^- \*\*(\d+(?:\.\d+)*)\*\*/gm)];
  const headings = headingsOf(page).flatMap((one) => /^(\d+(?:\.\d+)*)\b/.exec(one) ?? []);
  return new Set([...rules.map(([, number = '']) => number), ...headings]);
}

/** Texts between backquotes in a page's prose. */
export function quotedIn(page: string): string[] {
  return [...proseOf(page).matchAll(/`([^`\n]+)`/g)].map(([, text = '']) => text);
}
