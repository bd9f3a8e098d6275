// Checks JSON for what JSON.parse does not report: duplicate members, excessive nesting or number
// of members. Runs before an event is parsed.

export interface JsonBounds {
  readonly maxDepth: number;
  /** Maximum number of members of the outermost object. */
  readonly maxMembers: number;
}

/**
 * The first such fault in a JSON text: a duplicate member name in one object, or nesting or members
 * above the bounds. Only follows the structure; JSON.parse decides whether the text is valid JSON.
 */
export function jsonFault(text: string, { maxDepth, maxMembers }: JsonBounds): string | undefined {
  const names: (Set<string> | undefined)[] = [];
  const token = /["{}[\]]/g;
  const colon = /[ \t\n\r]*:/y;
  while (token.test(text)) {
    const at = token.lastIndex - 1;
    const found = text.charAt(at);
    if (found === '{' || found === '[') {
      names.push(found === '{' ? new Set() : undefined);
      if (names.length > maxDepth) return `it nests deeper than ${maxDepth} levels`;
    } else if (found === '}' || found === ']') {
      names.pop();
    } else {
      const end = endOfString(text, at);
      if (end === undefined) return undefined;
      token.lastIndex = end;
      colon.lastIndex = end;
      const ofObject = names.at(-1);
      if (ofObject === undefined || !colon.test(text)) continue;
      const name = nameIn(text.slice(at, end));
      if (name === undefined) return undefined;
      if (ofObject.has(name)) return `the member "${name.slice(0, 64)}" comes twice`;
      ofObject.add(name);
      if (names.length === 1 && ofObject.size > maxMembers) {
        return `it has more than ${maxMembers} members`;
      }
    }
  }
  return undefined;
}

/**
 * Without a regular expression: alternatives per character would take stack for each, and a string
 * may be megabytes long.
 */
function endOfString(text: string, start: number): number | undefined {
  for (let at = text.indexOf('"', start + 1); at >= 0; at = text.indexOf('"', at + 1)) {
    let backslashes = 0;
    while (text.charAt(at - 1 - backslashes) === '\\') backslashes += 1;
    if (backslashes % 2 === 0) return at + 1;
  }
  return undefined;
}

function nameIn(quoted: string): string | undefined {
  if (!quoted.includes('\\')) return quoted.slice(1, -1);
  try {
    return String(JSON.parse(quoted));
  } catch {
    // Invalid escape: JSON.parse refuses the text too.
    return undefined;
  }
}
