// solhint's rule `defaas/no-forbidden-opcode`: EVM features that the contracts must not use on any
// chain. prevrandao halts validators of some chains and is the proposer's on others; fees and blobs
// are not there on a chain with free gas; the height is no clock; `transfer` and `send` of native
// currency give the receiver 2 300 gas.

/** The part of a @solidity-parser/parser node that the rule reads. */
interface Node {
  readonly type: string;
  readonly name?: string;
  readonly memberName?: string;
  readonly functionName?: string;
  readonly expression?: Node;
  readonly arguments?: readonly Node[];
}

interface Reporter {
  error(node: Node, ruleId: string, message: string): void;
}

/**
 * Forbidden members of `block` and `tx`; only Beacon may use `number`, because it needs the height
 * of the hash it records.
 */
const MEMBERS: Readonly<Record<string, readonly string[]>> = {
  block: ['prevrandao', 'difficulty', 'basefee', 'blobbasefee', 'number'],
  tx: ['gasprice'],
};
const FUNCTIONS = ['blobhash', 'selfdestruct'];
const INSTRUCTIONS = [
  'prevrandao',
  'difficulty',
  'basefee',
  'blobbasefee',
  'number',
  'gasprice',
  'blobhash',
  'selfdestruct',
];
const MAY_ASK_HEIGHT = /(^|\/)Beacon\.sol$/;

class ForbiddenOpcode {
  ruleId = 'no-forbidden-opcode';
  readonly #reporter: Reporter;
  readonly #mayAskHeight: boolean;

  constructor(reporter: Reporter, _config: unknown, _source: string, fileName: string) {
    this.#reporter = reporter;
    this.#mayAskHeight = MAY_ASK_HEIGHT.test(fileName);
  }

  MemberAccess(node: Node): void {
    const owner = node.expression?.name ?? '';
    const member = node.memberName ?? '';
    if (!MEMBERS[owner]?.includes(member)) return;
    if (member !== 'number' || !this.#mayAskHeight) this.#refuse(node, `${owner}.${member}`);
  }

  FunctionCall(node: Node): void {
    const called = node.expression;
    if (FUNCTIONS.includes(called?.name ?? '')) this.#refuse(node, `${called?.name}()`);
    // A token's `transfer` has two arguments.
    const isOfNative = ['transfer', 'send'].includes(called?.memberName ?? '');
    if (isOfNative && node.arguments?.length === 1) this.#refuse(node, `.${called?.memberName}()`);
  }

  AssemblyCall(node: Node): void {
    if (INSTRUCTIONS.includes(node.functionName ?? '')) this.#refuse(node, `${node.functionName}`);
  }

  #refuse(node: Node, what: string): void {
    this.#reporter.error(node, this.ruleId, `${what} is not used here, see docs/contracts.md 13`);
  }
}

export default [ForbiddenOpcode];
