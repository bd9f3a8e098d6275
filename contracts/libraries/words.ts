// 32-byte words in the layout of `abi.encode`: big-endian, left-padded. The buffer is made once and
// overwritten.
import { type Hex, writeHex } from './keccak.ts';

/** Bytes of one word of the ABI. */
export const WORD_BYTES = 32;

const MAX_64_BITS = 0xffff_ffff_ffff_ffffn;

/**
 * A buffer of `count` words with writers for the ABI's static types. A writer does not clear the
 * bytes that it does not write, so a word must always be written as the same type.
 */
export class Words {
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly #view: DataView;

  constructor(count: number) {
    this.bytes = new Uint8Array(count * WORD_BYTES);
    this.#view = new DataView(this.bytes.buffer);
  }

  /** An address, `0x` and 40 digits. @throws TypeError  any other form */
  address(word: number, value: Hex): void {
    this.#hex(word, value, 20);
  }

  /** A uint192, `0x` and 48 digits: an epoch's value. @throws TypeError  any other form */
  uint192(word: number, value: Hex): void {
    this.#hex(word, value, 24);
  }

  /** A bytes32, `0x` and 64 digits. @throws TypeError  any other form */
  bytes32(word: number, value: Hex): void {
    this.#hex(word, value, 32);
  }

  /**
   * An unsigned integer of up to 53 bits.
   * @throws RangeError  negative, fractional or above `max`
   */
  uint(word: number, value: number, max: number): void {
    if (!(Number.isInteger(value) && value >= 0 && value <= max)) throw outOfRange(value, max);
    const at = word * WORD_BYTES + 24;
    this.#view.setUint32(at, value / 0x1_0000_0000);
    this.#view.setUint32(at + 4, value >>> 0);
  }

  /** A uint64. @throws RangeError  negative or wider */
  uint64(word: number, value: bigint): void {
    if (value < 0n || value > MAX_64_BITS) throw outOfRange(value, MAX_64_BITS);
    this.#view.setBigUint64(word * WORD_BYTES + 24, value);
  }

  /** A uint128. @throws RangeError  negative or wider */
  uint128(word: number, value: bigint): void {
    if (value >= 0n && value <= MAX_64_BITS) {
      this.#view.setBigUint64(word * WORD_BYTES + 16, 0n);
      this.#view.setBigUint64(word * WORD_BYTES + 24, value);
      return;
    }
    const high = value >> 64n;
    if (high < 0n || high > MAX_64_BITS) throw outOfRange(value, (1n << 128n) - 1n);
    this.#view.setBigUint64(word * WORD_BYTES + 16, high);
    this.#view.setBigUint64(word * WORD_BYTES + 24, BigInt.asUintN(64, value));
  }

  /** An unsigned integer of `bits` bits, up to 256. @throws RangeError  negative or wider */
  unsigned(word: number, value: bigint, bits: number): void {
    const tooLarge = 1n << BigInt(bits);
    if (value < 0n || value >= tooLarge) throw outOfRange(value, tooLarge - 1n);
    for (let i = 0; i < 4; i += 1) {
      const part = BigInt.asUintN(64, value >> BigInt(192 - 64 * i));
      this.#view.setBigUint64(word * WORD_BYTES + i * 8, part);
    }
  }

  #hex(word: number, value: Hex, byteLength: number): void {
    writeHex(value, this.bytes, (word + 1) * WORD_BYTES - byteLength, byteLength);
  }
}

function outOfRange(value: number | bigint, max: number | bigint): RangeError {
  return new RangeError(`expected a whole number from 0 to ${max}, got ${value}`);
}
