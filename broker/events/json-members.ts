// What JSON.parse does not tell: members that came twice, nesting and members without end. Asked before an event is parsed.

export interface JsonBounds {
  readonly maxDepth: number;
  /** Most members of the outermost object. */
  readonly maxMembers: number;
}

/**
 * The first fault of a JSON text that JSON.parse would not see: a member name twice in one object, nesting or members beyond the
 * bounds. Only the text's structure is followed here; whether it is JSON is for JSON.parse to say.
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

/** By hand: a regular expression with a choice per character takes stack for each, and a string may be megabytes long. */
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
    // An escape that is none: JSON.parse refuses the whole as well.
    return undefined;
  }
}
