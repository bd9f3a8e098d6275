"""Signed types, ids, CIDs, prices, nonces and draws (sections 3.2, 4, 8.3, 8.5, 10.2, 12)."""
import base64

from .primitives import from_hex, hmac_sha256, keccak256, sha256, to_hex, word

TYPES = {
    "Voucher": "Voucher(address payer,address gateway,address signer,uint128 ceiling)",
    "Call": "Call(address payer,address gateway,address signer,bytes32 nonce,bytes32 functionVersion,"
    "bytes32 input,uint128 maxPrice,uint40 deadline,uint64 beacon,bytes32 authority)",
    "Receipt": "Receipt(address payer,address gateway,address signer,uint40 seq,bytes32 call,"
    "bytes32 execution,address provider,uint8 attempt,uint64 atBlock,uint128 price,uint128 cumulative)",
    "Execution": "Execution(uint64 deployment,bytes32 request,uint32 billedMs,uint32 initMs,"
    "uint32 memoryMiB,uint16 status,bytes32 input,bytes32 output,uint40 finishedAt)",
    "ReceiptGroup": "ReceiptGroup(address gateway,bytes32 root,uint32 count)",
    "Payout": "Payout(address gateway,address payee,uint128 cumulative)",
    "Mandate": "Mandate(address payer,address gateway,address signer,uint8 kind,bytes32 subject,"
    "uint256 functionId,uint128 maxPrice,uint128 perDay,uint128 total,uint40 until,uint64 serial)",
}
TIMES = ("deadline", "expiry", "until", "finishedAt")
CODECS = {"raw": 0x55, "dag-pb": 0x70, "dag-cbor": 0x71}
OWN_CALLS_LABEL = b"DeFaaS own calls 1"


def struct_hash(name, message):
    """keccak256 of the type hash and the fields, as hex. Numbers may be decimal text."""
    text = TYPES[name]
    data = keccak256(text.encode())
    for field in text[text.index("(") + 1 : -1].split(","):
        kind, key = field.split(" ")
        value = message[key + "Sec" if key in TIMES else key]
        if kind.startswith("uint"):
            value = int(value, 0) if isinstance(value, str) else value
            if not 0 <= value < 1 << int(kind[4:]):
                raise ValueError(f"{name}.{key} is no {kind}")
        else:
            from_hex(value, 20 if kind == "address" else 32)
        data += word(value)
    return to_hex(keccak256(data))


def billing_domain(chain_id, billing):
    return {
        "name": "DeFaaS Billing",
        "version": "1",
        "chainId": chain_id,
        "verifyingContract": billing,
    }


def separator(domain):
    kind = b"EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
    return to_hex(
        keccak256(
            keccak256(kind)
            + keccak256(domain["name"].encode())
            + keccak256(domain["version"].encode())
            + word(domain["chainId"])
            + word(domain["verifyingContract"])
        )
    )


def digest_of(domain, struct):
    """The 32 bytes that are signed over a struct hash."""
    return keccak256(b"\x19\x01" + from_hex(separator(domain)) + from_hex(struct, 32))


def typed_digest(domain, name, message):
    return digest_of(domain, struct_hash(name, message))


# ---- names


def function_id(namespace, name):
    text = name.encode()
    padded = text.ljust(-(-len(text) // 32) * 32, b"\0")
    return int.from_bytes(keccak256(word(namespace) + word(0x40) + word(len(text)) + padded), "big")


def function_version(registry, function, number):
    return to_hex(keccak256(word(registry) + word(function) + word(number)))


def cid_of(codec, digest):
    data = bytes([1, codec, 0x12, 0x20]) + from_hex(digest, 32)
    return "b" + base64.b32encode(data).decode().rstrip("=").lower()


def digest_in(cid):
    """Codec and sha2-256 digest of a CIDv1."""
    text = cid[1:].upper()
    data = base64.b32decode(text + "=" * (-len(text) % 8))
    if cid[:1] != "b" or data[:1] != b"\1" or data[2:4] != b"\x12\x20" or len(data) != 36:
        raise ValueError(f"{cid[:80]!r} is no CIDv1 with sha2-256")
    return data[1], to_hex(data[4:])


# ---- prices


def _ceil(value, divisor):
    return -(-value // divisor)


def price_of(execution, terms):
    """Base units; `terms` has the tariff's six values, memoryMiB and timeoutMs."""
    if execution["status"] == 0:
        return 0
    charged = max(min(execution["billedMs"], terms["timeoutMs"]), terms["minBilledMs"])
    ms = _ceil(charged, terms["roundMs"]) * terms["roundMs"]
    work = terms["perGiBSecond"] * min(execution["memoryMiB"], terms["memoryMiB"]) * ms
    return min(terms["perCall"] + _ceil(work, 1_024_000), terms["maxPrice"])


def worst_price(terms):
    used = {"billedMs": terms["timeoutMs"], "memoryMiB": terms["memoryMiB"], "status": 200}
    return price_of(used, terms)


def split_price(price, fee_bps, publisher_bps):
    gateway = price * fee_bps // 10_000
    publisher = (price - gateway) * publisher_bps // 10_000
    return {"gateway": gateway, "publisher": publisher, "provider": price - gateway - publisher}


# ---- calls


def own_calls_key(private_key):
    return hmac_sha256(private_key, OWN_CALLS_LABEL)


def keyed_half(key, idempotency_key):
    return hmac_sha256(key, idempotency_key.encode())[:16]


def tag_of(key, r, function, max_price):
    return hmac_sha256(key, r + word(function) + max_price.to_bytes(16, "big"))[:16]


def own_nonce(key, idempotency_key, function, max_price):
    r = keyed_half(key, idempotency_key)
    return to_hex(r + tag_of(key, r, function, max_price))


def is_own_nonce(key, nonce, function, max_price):
    data = from_hex(nonce, 32)
    return data[16:] == tag_of(key, data[:16], function, max_price)


def commit(salt, head, body):
    return to_hex(sha256(from_hex(salt, 32) + sha256(head) + sha256(body)))


def commit_request(salt, method, target, body):
    return commit(salt, f"{method}\n{target or '/'}".encode(), body)


def commit_answer(salt, status, body):
    return commit(salt, str(status).encode(), b"" if status == 0 else body)


def token_subject(name):
    return to_hex(keccak256(name.encode()))


def mandated_nonce(authority, item):
    return to_hex(keccak256(word(authority) + word(item)))


# ---- draws


def epoch_value(chain_id, epoch, block_hash):
    return to_hex(keccak256(word(chain_id) + word(epoch) + word(block_hash))[8:])


def draw_seed(value, call):
    parts = word(value) + word(call["payer"]) + word(call["signer"]) + word(call["nonce"])
    return to_hex(keccak256(parts))


def draw_order(seed, ids):
    order = list(ids)
    seed_bytes = from_hex(seed, 32)
    for k in range(len(order) - 1):
        if k == 0:
            step = seed_bytes[:16]
        elif k == 1:
            step = seed_bytes[16:]
        else:
            step = keccak256(seed_bytes + word(k))
        other = k + int.from_bytes(step, "big") % (len(order) - k)
        order[k], order[other] = order[other], order[k]
    return order
