"""Hashes, words, secp256k1 and the ordered Merkle tree (sections 1, 3.1 and 11)."""
import base64
import hashlib
import hmac

from Cryptodome.Hash import keccak as keccak_hash

# secp256k1 (SEC 2): y^2 = x^3 + 7 over P, generator G of order N.
P = 2**256 - 2**32 - 977
N = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
G = (
    0x79BE667EF9DCBBAC55A06295CE870B07029BFCDB2DCE28D959F2815B16F81798,
    0x483ADA7726A3C4655DA4FBFC0E1108A8FD17B448A68554199C47D08FFB10D4B8,
)
ZERO_WORD = "0x" + "00" * 32


def keccak256(data):
    """The original Keccak with 256 bits, 32 bytes."""
    return keccak_hash.new(digest_bits=256, data=data).digest()


def sha256(data):
    return hashlib.sha256(data).digest()


def hmac_sha256(key, data):
    return hmac.new(key, data, hashlib.sha256).digest()


def to_hex(data):
    return "0x" + data.hex()


def from_hex(text, length=None):
    """Bytes of `0x` hex. Raises ValueError for any other form or length."""
    if not text.startswith("0x"):
        raise ValueError(f"{text[:80]!r} is not hex")
    data = bytes.fromhex(text[2:])
    if length is not None and len(data) != length:
        raise ValueError(f"{text[:80]!r} has not {length} bytes")
    return data


def word(value):
    """One word of the ABI: a number, or an address or a bytes32 in hex."""
    if isinstance(value, bool) or isinstance(value, int):
        return int(value).to_bytes(32, "big")
    data = from_hex(value)
    if len(data) not in (20, 24, 32):
        raise ValueError(f"{value[:80]!r} is neither an address nor a word")
    return data.rjust(32, b"\0")


def base64url(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def from_base64url(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


# ---- secp256k1


def _add(a, b):
    if a is None:
        return b
    if b is None:
        return a
    if a[0] == b[0]:
        if (a[1] + b[1]) % P == 0:
            return None
        slope = 3 * a[0] * a[0] * pow(2 * a[1], -1, P) % P
    else:
        slope = (b[1] - a[1]) * pow(b[0] - a[0], -1, P) % P
    x = (slope * slope - a[0] - b[0]) % P
    return x, (slope * (a[0] - x) - a[1]) % P


def _multiply(point, factor):
    total = None
    while factor:
        if factor & 1:
            total = _add(total, point)
        point = _add(point, point)
        factor >>= 1
    return total


def _address_of_point(point):
    data = point[0].to_bytes(32, "big") + point[1].to_bytes(32, "big")
    return to_hex(keccak256(data)[12:])


def address_of(private_key):
    return _address_of_point(_multiply(G, int.from_bytes(private_key, "big")))


def checksummed(address):
    """The EIP-55 form of an address."""
    digits = address[2:].lower()
    nibbles = keccak256(digits.encode()).hex()
    pairs = zip(digits, nibbles)
    return "0x" + "".join(one.upper() if int(nibble, 16) > 7 else one for one, nibble in pairs)


def _nonces(private_key, digest):
    """Candidates for k (RFC 6979 section 3.2, HMAC-SHA256)."""
    key, value = b"\0" * 32, b"\1" * 32
    message = (int.from_bytes(digest, "big") % N).to_bytes(32, "big")
    key = hmac_sha256(key, value + b"\0" + private_key + message)
    value = hmac_sha256(key, value)
    key = hmac_sha256(key, value + b"\1" + private_key + message)
    value = hmac_sha256(key, value)
    while True:
        value = hmac_sha256(key, value)
        yield int.from_bytes(value, "big")
        key = hmac_sha256(key, value + b"\0")
        value = hmac_sha256(key, value)


def sign_digest(private_key, digest):
    """r, s, v as 65 bytes of hex, with a low s."""
    secret = int.from_bytes(private_key, "big")
    for k in _nonces(private_key, digest):
        if not 0 < k < N:
            continue
        x, y = _multiply(G, k)
        r = x % N
        s = pow(k, -1, N) * (int.from_bytes(digest, "big") + r * secret) % N
        if r == 0 or s == 0 or x >= N:
            continue
        odd = y & 1
        if s > N // 2:
            s, odd = N - s, 1 - odd
        return to_hex(r.to_bytes(32, "big") + s.to_bytes(32, "big") + bytes([27 + odd]))


def recover(digest, signature):
    """The address that signed the 32-byte digest; None when the signature is none."""
    try:
        data = from_hex(signature, 65)
    except ValueError:
        return None
    r, s, v = int.from_bytes(data[:32], "big"), int.from_bytes(data[32:64], "big"), data[64]
    if v not in (27, 28) or not 0 < r < N or not 0 < s <= N // 2:
        return None
    square = (pow(r, 3, P) + 7) % P
    y = pow(square, (P + 1) // 4, P)
    if y * y % P != square:
        return None
    if y & 1 != v - 27:
        y = P - y
    inverse = pow(r, -1, N)
    of_digest = _multiply(G, -int.from_bytes(digest, "big") * inverse % N)
    point = _add(of_digest, _multiply((r, y), s * inverse % N))
    return None if point is None else _address_of_point(point)


def sign_text(private_key, text):
    """ERC-191, version 0x45."""
    data = text.encode()
    prefix = b"\x19Ethereum Signed Message:\n" + str(len(data)).encode()
    return sign_digest(private_key, keccak256(prefix + data))


# ---- the ordered Merkle tree


def root_of(leaves):
    """Root over hex words, at least one."""
    level = [from_hex(leaf, 32) for leaf in leaves]
    if not level:
        raise ValueError("there is no empty tree")
    while len(level) > 1:
        above = [keccak256(level[i] + level[i + 1]) for i in range(0, len(level) - 1, 2)]
        if len(level) % 2 == 1:
            above.append(level[-1])
        level = above
    return to_hex(level[0])


def path_of(leaves, index):
    """The siblings of the leaf at `index`, from below."""
    level = [from_hex(leaf, 32) for leaf in leaves]
    path = []
    while len(level) > 1:
        if index ^ 1 < len(level):
            path.append(to_hex(level[index ^ 1]))
        above = [keccak256(level[i] + level[i + 1]) for i in range(0, len(level) - 1, 2)]
        if len(level) % 2 == 1:
            above.append(level[-1])
        level, index = above, index >> 1
    return path


def follow(leaf, index, count, path):
    """The root that a path leads to; None when it does not fit the place and the count."""
    if not 0 <= index < count:
        return None
    node, last, used = from_hex(leaf, 32), count - 1, 0
    while last > 0:
        if index & 1 or index < last:
            if used == len(path):
                return None
            sibling = from_hex(path[used], 32)
            used += 1
            node = keccak256(sibling + node if index & 1 else node + sibling)
        index, last = index >> 1, last >> 1
    return to_hex(node) if used == len(path) else None
