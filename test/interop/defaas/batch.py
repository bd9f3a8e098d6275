"""The blocks of a batch: strict dag-cbor, opened to receipts, Calls and Executions (13.2)."""
import cbor2

from .messages import CODECS, cid_of, digest_in, struct_hash
from .primitives import ZERO_WORD, keccak256, sha256, to_hex, word

MAX_PAGE_BYTES = 512 * 1024
MAX_ROOT_BYTES = 1024 * 1024


class Refused(Exception):
    """What was shown is not what it must be. `code` is one of 13.3."""

    def __init__(self, code, message):
        super().__init__(f"{code}: {message}")
        self.code = code


def claim_leaf(claim):
    fields = ("payer", "signer", "settledFrom", "settledTo", "seqFrom", "seqTo", "receipts")
    return to_hex(keccak256(b"".join(word(claim[field]) for field in fields)))


def batch_word(root, claims, timestamp):
    return to_hex(keccak256(word(root) + word(ZERO_WORD) + word(claims) + word(timestamp)))


def checked_block(cid, data):
    """The bytes, once they are known to be those of the CID."""
    if to_hex(sha256(data)) != digest_in(cid)[1]:
        raise Refused("BATCH_BLOCK_ALTERED", f"the bytes of {cid} are not its own")
    return data


def decode(data, most):
    """A dag-cbor value; anything but its one canonical form is refused."""
    if len(data) > most:
        raise Refused("BATCH_MALFORMED", f"a block of {len(data)} bytes")
    try:
        value = cbor2.loads(data)
        again = cbor2.dumps(value, canonical=True)
    except Exception as error:
        raise Refused("BATCH_MALFORMED", f"no CBOR: {error}") from error
    if again != data:
        raise Refused("BATCH_MALFORMED", "not canonical")
    return value


def _need(holds, what):
    if not holds:
        raise Refused("BATCH_MALFORMED", what)


def _bytes(value, length):
    _need(isinstance(value, bytes) and len(value) == length, f"no {length} bytes")
    return to_hex(value)


def _uint(value, bits=53):
    is_number = isinstance(value, int) and not isinstance(value, bool)
    _need(is_number and 0 <= value < 1 << bits, f"no integer of {bits} bits")
    return value


def _money(value):
    _need(isinstance(value, bytes) and len(value) <= 16 and value[:1] != b"\0", "no amount")
    return int.from_bytes(value, "big")


def _list(value, length=None):
    _need(isinstance(value, list) and (length is None or len(value) == length), "no such list")
    return value


def _text(value):
    _need(isinstance(value, str) and len(value) <= 256, "no short text")
    return value


def _link(value):
    _need(isinstance(value, cbor2.CBORTag) and value.tag == 42, "no link")
    data = value.value
    _need(isinstance(data, bytes) and data[:5] == bytes([0, 1, 0x71, 0x12, 0x20]), "no CID")
    return cid_of(CODECS["dag-cbor"], _bytes(data[5:], 32))


def read_root(data):
    root = decode(data, MAX_ROOT_BYTES)
    _need(isinstance(root, dict) and root.get("version") == 1, "no root block of version 1")
    lanes = []
    seen = set()
    for lane in _list(root.get("lanes")):
        row, links = _list(lane, 2)
        row = _list(row, 7)
        claim = {
            "payer": _bytes(row[0], 20),
            "signer": _bytes(row[1], 20),
            "settledFrom": _money(row[2]),
            "settledTo": _money(row[3]),
            "seqFrom": _uint(row[4], 40),
            "seqTo": _uint(row[5], 40),
            "receipts": _bytes(row[6], 32),
        }
        pages = [_link(link) for link in _list(links)]
        _need(seen.isdisjoint(pages) and len(set(pages)) == len(pages), "a page twice")
        seen.update(pages)
        lanes.append({"claim": claim, "pages": pages})
    _need(len(lanes) <= 256, "more than 256 lanes")
    return {
        "chainId": _uint(root.get("chainId")),
        "billing": _bytes(root.get("billing"), 20),
        "gateway": _bytes(root.get("gateway"), 20),
        "batch": _uint(root.get("batch")),
        "root": _bytes(root.get("root"), 32),
        "lanes": lanes,
    }


def read_page(data, gateway, claim):
    """Receipts with their hashes, Calls, Executions and places in groups, in order."""
    page = decode(data, MAX_PAGE_BYTES)
    _need(isinstance(page, dict) and page.get("version") == 1, "no page of version 1")
    groups = []
    for row in _list(page.get("groups")):
        root, count, signature = _list(row, 3)
        group = {"root": _bytes(root, 32), "count": _uint(count, 32)}
        groups.append({**group, "signature": _bytes(signature, 65)})
    home = {"payer": claim["payer"], "gateway": gateway, "signer": claim["signer"]}
    return [_read_row(_list(row, 12), groups, home) for row in _list(page.get("receipts"))]


def _lane(value, home):
    if value is None:
        return dict(home)
    payer, gateway, signer = _list(value, 3)
    named = {"payer": payer, "gateway": gateway, "signer": signer}
    return {name: _bytes(value, 20) for name, value in named.items()}


def _read_row(row, groups, home):
    call_row, run, place = _list(row[7], 9), _list(row[8], 9), _list(row[9], 3)
    call = {
        **_lane(call_row[6], home),
        "nonce": _bytes(call_row[0], 32),
        "functionVersion": _bytes(call_row[1], 32),
        "input": _bytes(call_row[2], 32),
        "maxPrice": _money(call_row[3]),
        "deadlineSec": _uint(call_row[4], 40),
        "beacon": _uint(call_row[5]),
        "authority": ZERO_WORD if call_row[8] is None else _bytes(call_row[8], 32),
    }
    execution = {
        "deployment": _uint(run[0]),
        "request": _bytes(run[1], 32),
        "billedMs": _uint(run[2], 32),
        "initMs": _uint(run[3], 32),
        "memoryMiB": _uint(run[4], 32),
        "status": _uint(run[5], 16),
        "input": call["input"] if run[6] is None else _bytes(run[6], 32),
        "output": _bytes(run[7], 32),
        "finishedAtSec": _uint(run[8], 40),
    }
    receipt = {
        **_lane(row[6], home),
        "seq": _uint(row[0], 40),
        "call": struct_hash("Call", call),
        "execution": struct_hash("Execution", execution),
        "provider": _bytes(row[3], 20),
        "attempt": _uint(row[4], 8),
        "atBlock": _uint(row[5]),
        "price": _money(row[1]),
        "cumulative": _money(row[2]),
    }
    number, path = _uint(place[0], 32), place[2]
    _need(number < len(groups), "a group that is not on the page")
    _need(isinstance(path, bytes) and len(path) % 32 == 0 and len(path) <= 1024, "no path")
    group = {
        **groups[number],
        "index": _uint(place[1], 32),
        "path": [to_hex(path[at : at + 32]) for at in range(0, len(path), 32)],
    }
    attempts = []
    for attempt in _list(row[10]):
        deployment, ran, code, measured = _list(attempt, 4)
        _need(ran in ("no", "maybe"), "a `ran` that is neither no nor maybe")
        attempts.append(
            {
                "deployment": _uint(deployment),
                "ran": ran,
                "code": _text(code),
                "measuredMs": _uint(measured, 32),
            }
        )
    _need(len(attempts) <= 32, "more than 32 attempts")
    return {
        "id": struct_hash("Receipt", receipt),
        "receipt": receipt,
        "call": call,
        "callSignature": None if call_row[7] is None else _bytes(call_row[7], 65),
        "execution": execution,
        "group": group,
        "attempts": attempts,
        "reason": None if row[11] is None else _text(row[11]),
    }
