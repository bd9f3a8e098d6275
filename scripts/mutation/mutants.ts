// Lists all mutants of a contract, each with one change: an error that somebody could have made and
// that a test must notice.
import type { AstNode } from './solc.ts';

export interface Mutant {
  readonly file: string;
  readonly line: number;
  /** Enclosing function or contract. */
  readonly within: string;
  readonly from: string;
  readonly to: string;
  /**
   * Index among equal mutations in that function, from 0; with the fields above it identifies the
   * mutant even if lines move.
   */
  readonly nth: number;
  readonly source: string;
}

/** Operator -> its replacements. */
const OPERATORS: Readonly<Record<string, readonly string[]>> = {
  '<': ['<=', '>='],
  '<=': ['<', '>'],
  '>': ['>=', '<='],
  '>=': ['>', '<'],
  '==': ['!='],
  '!=': ['=='],
  '&&': ['||'],
  '||': ['&&'],
  '+': ['-'],
  '-': ['+'],
  '*': ['/'],
  '/': ['*'],
  '%': ['*'],
  '&': ['|'],
  '|': ['&'],
  '^': ['&'],
  '<<': ['>>'],
  '>>': ['<<'],
  '+=': ['-=', '='],
  '-=': ['+=', '='],
  '|=': ['='],
};
const SWAPPED = ['-', '/', '%', '<<', '>>'];
const INSTRUCTIONS: Readonly<Record<string, string>> = {
  add: 'sub',
  sub: 'add',
  mul: 'div',
  lt: 'gt',
  gt: 'lt',
  eq: 'xor',
  iszero: 'not',
  and: 'or',
  or: 'and',
  shl: 'shr',
  shr: 'shl',
};

interface SourceScope {
  readonly within: string;
  /** Inside an emit, a revert or a type string, which are not mutated. */
  readonly isText: boolean;
}

export function mutantsOf(file: string, source: string, ast: AstNode): Mutant[] {
  const bytes = Buffer.from(source);
  const mutants: Mutant[] = [];
  const seen = new Map<string, number>();

  const textOf = (node: AstNode): string => {
    const [start = 0, length = 0] = node.src.split(':').map(Number);
    return bytes.toString('utf8', start, start + length);
  };
  const replace = (node: AstNode, to: string, { within }: SourceScope, tail = 0): void => {
    const [start = 0, length = 0] = node.src.split(':').map(Number);
    const before = bytes.toString('utf8', 0, start);
    const after = bytes.toString('utf8', start + length + tail);
    const from = oneLine(textOf(node));
    const key = JSON.stringify([within, from, oneLine(to)]);
    const nth = seen.get(key) ?? 0;
    seen.set(key, nth + 1);
    mutants.push({
      file,
      line: before.split('\n').length,
      within,
      from,
      to: oneLine(to),
      nth,
      source: before + to + after,
    });
  };
  /** A statement's range ends before its semicolon, so an empty one must be a block. */
  const drop = (node: AstNode, place: SourceScope): void => {
    const [start = 0, length = 0] = node.src.split(':').map(Number);
    const semicolon = /^\s*;/.exec(bytes.toString('utf8', start + length));
    if (semicolon === null) replace(node, '', place);
    else replace(node, '{}', place, semicolon[0].length);
  };

  const operation = (node: AstNode, place: SourceScope, left: AstNode, right: AstNode): void => {
    const operator = String(node.operator);
    const [a, b] = [textOf(left), textOf(right)];
    for (const other of OPERATORS[operator] ?? []) replace(node, `${a} ${other} ${b}`, place);
    if (SWAPPED.includes(operator)) replace(node, `(${b}) ${operator} (${a})`, place);
  };

  const visit = (node: AstNode, place: SourceScope): void => {
    switch (node.nodeType) {
      case 'BinaryOperation':
        operation(node, place, child(node, 'leftExpression'), child(node, 'rightExpression'));
        break;
      case 'Assignment':
        if (node.operator !== '=') {
          operation(node, place, child(node, 'leftHandSide'), child(node, 'rightHandSide'));
        }
        break;
      case 'UnaryOperation':
        if (node.operator === '!') replace(node, textOf(child(node, 'subExpression')), place);
        break;
      case 'Conditional': {
        const [test, yes, no] = ['condition', 'trueExpression', 'falseExpression'].map((name) =>
          textOf(child(node, name)),
        );
        replace(node, `(${test}) ? (${no}) : (${yes})`, place);
        break;
      }
      case 'Literal':
        if (node.kind === 'number' && !textOf(node).startsWith('0x')) {
          replace(node, `(${textOf(node)} + 1)`, place);
        }
        if (node.kind === 'bool') replace(node, textOf(node) === 'true' ? 'false' : 'true', place);
        if (node.kind === 'string' && !place.isText) {
          replace(node, `${textOf(node).slice(0, -1)}~${textOf(node).slice(-1)}`, place);
        }
        break;
      case 'IfStatement':
        // Drops a check; if there is an else branch, it always runs.
        if (isPresent(node.falseBody)) replace(node, textOf(child(node, 'falseBody')), place);
        else if (textOf(node).endsWith('}')) replace(node, '{}', place);
        else drop(node, place);
        break;
      case 'ExpressionStatement':
      case 'EmitStatement':
        drop(node, place);
        break;
      case 'Return':
        if (isPresent(node.expression)) drop(node, place);
        break;
      case 'ModifierInvocation':
        if (!place.within.endsWith('constructor')) replace(node, '', place);
        break;
      case 'YulExpressionStatement':
      case 'YulAssignment':
        replace(node, '', place);
        break;
      case 'YulFunctionCall': {
        const name = textOf(child(node, 'functionName'));
        const other = INSTRUCTIONS[name];
        if (other !== undefined) replace(child(node, 'functionName'), other, place);
        break;
      }
      case 'YulLiteral':
        if (node.kind === 'number') replace(node, `${BigInt(textOf(node)) + 1n}`, place);
        break;
    }
    const inner = placeOf(node, place);
    for (const next of childrenOf(node)) visit(next, inner);
  };

  visit(ast, { within: '', isText: false });
  return mutants.filter(({ from, to }) => from !== to);
}

/** The fields that hold a node's children. */
function placeOf(node: AstNode, place: SourceScope): SourceScope {
  if (node.nodeType === 'ContractDefinition') return { ...place, within: String(node.name) };
  if (node.nodeType === 'FunctionDefinition' || node.nodeType === 'ModifierDefinition') {
    const name = node.kind === 'constructor' ? 'constructor' : String(node.name);
    return { ...place, within: place.within === '' ? name : `${place.within}.${name}` };
  }
  if (node.nodeType === 'EmitStatement' || node.nodeType === 'RevertStatement') {
    return { ...place, isText: true };
  }
  return place;
}

/** Statements and expressions; not imports, types and docstrings. */
function childrenOf(node: AstNode): AstNode[] {
  const passed = ['typeName', 'documentation', 'overrides', 'baseContracts', 'functionName'];
  if (['ImportDirective', 'PragmaDirective', 'UsingForDirective'].includes(node.nodeType))
    return [];
  const children: AstNode[] = [];
  for (const [name, value] of Object.entries(node)) {
    if (passed.includes(name)) continue;
    for (const one of Array.isArray(value) ? value : [value]) if (isNode(one)) children.push(one);
  }
  return children;
}

function child(node: AstNode, name: string): AstNode {
  const value = node[name];
  if (!isNode(value)) throw new Error(`${node.nodeType} without ${name}`);
  return value;
}

function isPresent(value: unknown): boolean {
  return value !== undefined && value !== null;
}

function isNode(value: unknown): value is AstNode {
  return typeof value === 'object' && value !== null && 'nodeType' in value && 'src' in value;
}

function oneLine(text: string): string {
  return text.replace(/\s+/g, ' ').trim();
}
