// The ordered Merkle tree of receipt groups, lanes and batches: a proof covers the leaf's position
// too. Twin of OrderedMerkle.sol.
import { fromHex, type Hex, keccak256, keccak256Hex, toHex, writeHex } from './keccak.ts';

/** Bytes of a node. */
const NODE_BYTES = 32;

/** A tree that is hashed once and then gives each leaf's path. */
export interface OrderedTree {
  readonly root: Hex;
  readonly count: number;
  /** The siblings from the leaf at `index` upwards. @throws RangeError  no such leaf */
  path(index: number): Hex[];
}

/**
 * Hashes `leaves`, 32 bytes each and at least one, level by level: a parent is keccak256(left ||
 * right), and a last node without a partner moves up unchanged (docs/contracts.md 5.1). Takes one
 * hash per leaf; a path takes none.
 * @throws RangeError  no leaves   @throws TypeError  a leaf that is not 32 bytes of hex
 */
export function createTree(leaves: readonly Hex[]): OrderedTree {
  const levels = levelsOf(leaves);
  const root = levels.at(-1);
  if (root === undefined) throw new RangeError('an ordered tree has at least one leaf');
  return {
    root: toHex(root),
    count: leaves.length,
    path: (index) => pathIn(levels, leaves.length, index),
  };
}

/**
 * Computes a root from leaves that arrive one by one: log2(n) nodes in memory, one hash per leaf.
 */
export interface GrowingRoot {
  readonly count: number;
  /** @throws TypeError  not 32 bytes of hex */
  add(leaf: Hex): void;
  /** Of the leaves so far. @throws RangeError  none yet */
  root(): Hex;
}

/** Computes the root of a tree that is too large to keep; equals `createTree` of all its leaves. */
export function createRoot(): GrowingRoot {
  // Peaks of full trees from left to right, as the binary digits of `count` name them.
  const peaks: Uint8Array[] = [];
  let count = 0;
  return {
    get count() {
      return count;
    },
    add: (leaf) => {
      let node: Uint8Array = new Uint8Array(NODE_BYTES);
      writeHex(leaf, node, 0, NODE_BYTES);
      for (let left = count; left % 2 === 1; left = Math.floor(left / 2)) {
        node = parentOf(peaks.pop(), node);
      }
      peaks.push(node);
      count += 1;
    },
    root: () => {
      const last = peaks.at(-1);
      if (last === undefined) throw new RangeError('an ordered tree has at least one leaf');
      return toHex(peaks.slice(0, -1).reduceRight((node, left) => parentOf(left, node), last));
    },
  };
}

/**
 * GrowingRoot with the paths of some leaves: tracks each leaf from when it is added until `forget`.
 */
export interface GrowingPaths extends GrowingRoot {
  /** Stops tracking a leaf whose path is not needed. */
  forget(index: number): void;
  /**
   * Path of a tracked leaf in the tree of all leaves so far. Undefined if it is not tracked or not
   * added.
   */
  path(index: number): Hex[] | undefined;
}

/**
 * Computes paths in a tree that is too large to keep; equal to those of `createTree` of all its
 * leaves.
 */
export function createPaths(): GrowingPaths {
  interface Peak {
    readonly node: Uint8Array;
    readonly leaves: readonly number[];
  }
  const peaks: Peak[] = [];
  const paths = new Map<number, Hex[]>();
  let count = 0;
  const extend = (below: Peak, sibling: Uint8Array, into: (index: number) => Hex[] | undefined) => {
    const leaves = below.leaves.filter((index) => paths.has(index));
    const node = leaves.length === 0 ? undefined : toHex(sibling);
    for (const index of leaves) if (node !== undefined) into(index)?.push(node);
    return leaves;
  };
  const join = (left: Peak, right: Peak, into = (index: number) => paths.get(index)): Peak => ({
    node: parentOf(left.node, right.node),
    leaves: [...extend(left, right.node, into), ...extend(right, left.node, into)],
  });
  /** Joins the peaks into one tree, from the right, and extends the paths that `into` returns. */
  const fold = (into: (index: number) => Hex[] | undefined): Peak => {
    const last = peaks.at(-1);
    if (last === undefined) throw new RangeError('an ordered tree has at least one leaf');
    return peaks.slice(0, -1).reduceRight((tree, left) => join(left, tree, into), last);
  };

  return {
    get count() {
      return count;
    },
    add: (leaf) => {
      const node = new Uint8Array(NODE_BYTES);
      writeHex(leaf, node, 0, NODE_BYTES);
      paths.set(count, []);
      let peak: Peak = { node, leaves: [count] };
      for (let left = count; left % 2 === 1; left = Math.floor(left / 2)) {
        const before = peaks.pop();
        if (before !== undefined) peak = join(before, peak);
      }
      peaks.push(peak);
      count += 1;
    },
    forget: (index) => {
      paths.delete(index);
    },
    root: () => toHex(fold(() => undefined).node),
    path: (index) => {
      const known = paths.get(index);
      if (known === undefined) return undefined;
      const whole = [...known];
      fold((one) => (one === index ? whole : undefined));
      return whole;
    },
  };
}

function parentOf(left: Uint8Array | undefined, right: Uint8Array): Uint8Array {
  const pair = new Uint8Array(2 * NODE_BYTES);
  if (left !== undefined) pair.set(left);
  pair.set(right, NODE_BYTES);
  return keccak256(pair);
}

/** The root of `leaves`. Of one leaf it is the leaf. @throws as `createTree` */
export function rootOf(leaves: readonly Hex[]): Hex {
  const growing = createRoot();
  for (const leaf of leaves) growing.add(leaf);
  return growing.root();
}

/**
 * The path of the leaf at `index`. Several paths of one tree: `createTree`.
 * @throws as `createTree`
 */
export function pathOf(leaves: readonly Hex[], index: number): Hex[] {
  return createTree(leaves).path(index);
}

/**
 * Whether `leaf` stands at `index` of a tree with `count` leaves and this root. Every element of
 * `path` must be used exactly once, so a path fits one place and one count only.
 */
export function verifyPath(
  leaf: Hex,
  index: number,
  count: number,
  path: readonly Hex[],
  root: Hex,
): boolean {
  return followPath(leaf, index, count, path) === root.toLowerCase();
}

/** The root that a path leads to; undefined when it does not fit the place and the count. */
export function followPath(
  leaf: Hex,
  index: number,
  count: number,
  path: readonly Hex[],
): Hex | undefined {
  if (!(Number.isInteger(index) && index >= 0 && index < count)) return undefined;
  const pair = new Uint8Array(2 * NODE_BYTES);
  let node = fromHex(leaf) as Uint8Array;
  let used = 0;
  let at = index;
  for (let last = count - 1; last > 0; last = Math.floor(last / 2)) {
    if (at % 2 === 1 || at < last) {
      const sibling = path[used];
      if (sibling === undefined) return undefined;
      used += 1;
      const left = at % 2 === 0;
      pair.set(node, left ? 0 : NODE_BYTES);
      writeHex(sibling, pair, left ? NODE_BYTES : 0, NODE_BYTES);
      node = keccak256(pair);
    }
    at = Math.floor(at / 2);
  }
  return used === path.length ? toHex(node) : undefined;
}

/**
 * All levels from the leaves to the root, each as one array of 32-byte nodes, so a pair is a slice
 * of its level.
 */
function levelsOf(leaves: readonly Hex[]): Uint8Array[] {
  let level = new Uint8Array(leaves.length * NODE_BYTES);
  leaves.forEach((leaf, index) => {
    writeHex(leaf, level, index * NODE_BYTES, NODE_BYTES);
  });
  const levels = leaves.length === 0 ? [] : [level];
  while (level.length > NODE_BYTES) {
    const count = level.length / NODE_BYTES;
    const above = new Uint8Array(Math.ceil(count / 2) * NODE_BYTES);
    for (let i = 0; i + 1 < count; i += 2) {
      const pair = level.subarray(i * NODE_BYTES, (i + 2) * NODE_BYTES);
      writeHex(keccak256Hex(pair), above, (i / 2) * NODE_BYTES, NODE_BYTES);
    }
    if (count % 2 === 1) above.set(level.subarray(-NODE_BYTES), above.length - NODE_BYTES);
    level = above;
    levels.push(level);
  }
  return levels;
}

function pathIn(levels: readonly Uint8Array[], count: number, index: number): Hex[] {
  if (!(Number.isInteger(index) && index >= 0 && index < count)) {
    throw new RangeError(`a tree of ${count} leaves has no leaf ${index}`);
  }
  const path: Hex[] = [];
  let at = index;
  for (const level of levels) {
    const sibling = at ^ 1;
    if (level.length > NODE_BYTES && sibling * NODE_BYTES < level.length) {
      path.push(toHex(level.subarray(sibling * NODE_BYTES, (sibling + 1) * NODE_BYTES)));
    }
    at >>= 1;
  }
  return path;
}
