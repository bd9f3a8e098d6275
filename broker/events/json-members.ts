// What JSON.parse does not tell: members that came twice, and nesting without end. Used before an event is believed.

/**
 * The first fault of a JSON text that JSON.parse accepts: a member name twice in one object, or nesting deeper than
 * `maxDepth`. The text must already have been parsed once, so only its structure is followed here.
 */
export function jsonFault(text: string, maxDepth: number): string | undefined {
  const names: (Set<string> | undefined)[] = [];
  const token = /"(?:[^"\\]|\\.)*"|[{}[\]]/gs;
  for (let match = token.exec(text); match !== null; match = token.exec(text)) {
    const [found] = match;
    if (found === '{' || found === '[') {
      names.push(found === '{' ? new Set() : undefined);
      if (names.length > maxDepth) return `it nests deeper than ${maxDepth} levels`;
    } else if (found === '}' || found === ']') {
      names.pop();
    } else if (/^\s*:/.test(text.slice(token.lastIndex, token.lastIndex + 64))) {
      const name: unknown = JSON.parse(found);
      const ofObject = names.at(-1);
      if (ofObject?.has(String(name))) return `the member ${found.slice(0, 64)} comes twice`;
      ofObject?.add(String(name));
    }
  }
  return undefined;
}
