"""Asking the chain whether it would punish a receipt (section 15), with the encoding that takes."""
from .batch import claim_leaf
from .chain import number
from .messages import TYPES
from .primitives import ZERO_WORD, from_hex, keccak256, path_of, to_hex, word

RECEIPT, CALL, EXECUTION = (
    tuple(field.split(" ")[0] for field in TYPES[name][len(name) + 1 : -1].split(","))
    for name in ("Receipt", "Call", "Execution")
)
PLACE = (
    *("address", "uint64", "uint64", "uint32", "uint32", "bytes32", "bytes32[]", "address"),
    *("address", "uint88", "uint88", "uint40", "uint40", "bytes32"),
)
LEAF = (RECEIPT, "uint32", "bytes32[]")


def signature_of(kind):
    """A type in a selector: a struct is the tuple of its types."""
    return kind if isinstance(kind, str) else f"({','.join(map(signature_of, kind))})"


def is_dynamic(kind):
    return kind == "bytes32[]" if isinstance(kind, str) else any(map(is_dynamic, kind))


def encode(kind, value):
    """The ABI's encoding: dynamic parts of a tuple stand behind its heads, as offsets there."""
    if kind == "bytes32[]":
        return word(len(value)) + b"".join(map(from_hex, value))
    if isinstance(kind, str):
        return word(value)
    parts = [encode(one, of) for one, of in zip(kind, value, strict=True)]
    length = sum(32 if is_dynamic(one) else len(part) for one, part in zip(kind, parts))
    heads, tails = b"", b""
    for one, part in zip(kind, parts):
        if is_dynamic(one):
            heads += word(length + len(tails))
            tails += part
        else:
            heads += part
    return heads + tails


def fields_of(name, message):
    """The values of a signed type, in the order of its fields."""
    names = [field.split(" ")[1] for field in TYPES[name][len(name) + 1 : -1].split(",")]
    return [message[one if one in message else f"{one}Sec"] for one in names]


def check_overcharge(chain, gateway, settled, lanes, claim_index, index):
    """Whether the chain takes a receipt for one above its tariff, and the damage in base units."""
    claim, rows = settled["claims"][claim_index], lanes[claim_index]
    row, claims = rows[index], [claim_leaf(one) for one in settled["claims"]]
    place = [
        *(gateway, settled["batch"], settled["timestamp"], len(claims), claim_index),
        *(ZERO_WORD, path_of(claims, claim_index), claim["payer"], claim["signer"]),
        *(claim["settledFrom"], claim["settledTo"], claim["seqFrom"], claim["seqTo"]),
        claim["receipts"],
    ]
    path = path_of([one["id"] for one in rows], index)
    leaf = [fields_of("Receipt", row["receipt"]), index, path]
    arguments = (PLACE, LEAF, CALL, EXECUTION)
    values = (place, leaf, fields_of("Call", row["call"]), fields_of("Execution", row["execution"]))
    selector = keccak256(f"checkOvercharge{signature_of(arguments)}".encode())[:4]
    is_fraud, damage = chain.ask("disputes", to_hex(selector + encode(arguments, values)))
    return number(is_fraud) == 1, number(damage)
