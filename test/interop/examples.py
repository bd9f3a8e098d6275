#!/usr/bin/python3
"""
Computes every example of docs/protocol.md and compares: examples.py <page>. Exits 1 at the first
that differs.
"""
import json
import re
import sys

from defaas import batch as blocks
from defaas import messages as m
from defaas import primitives as p


def money(values):
    return {name: str(units) for name, units in values.items()}


def signed(domain, name, message, private_key):
    digest = m.typed_digest(domain, name, message)
    return {
        "digest": p.to_hex(digest),
        "signature": p.sign_digest(p.from_hex(private_key), digest),
    }


def hashes(text):
    data = text.encode()
    return {"keccak256": p.to_hex(p.keccak256(data)), "sha256": p.to_hex(p.sha256(data))}


def address(privateKey):
    found = p.address_of(p.from_hex(privateKey))
    return {"address": found, "checksummed": p.checksummed(found)}


def names(namespace, name, registry, number):
    function = m.function_id(namespace, name)
    return {
        "functionId": p.to_hex(p.word(function)),
        "functionVersion": m.function_version(registry, function, number),
    }


def price(tariff, memoryMiB, timeoutMs, execution, feeBps):
    terms = {name: int(value) for name, value in tariff.items()}
    terms.update(memoryMiB=memoryMiB, timeoutMs=timeoutMs)
    units = m.price_of(execution, terms)
    return {
        "price": str(units),
        "worst": str(m.worst_price(terms)),
        "shares": money(m.split_price(units, feeBps, tariff["publisherBps"])),
    }


def thumbprint(jwk, accessToken):
    from defaas.gateway import thumbprint_of

    jkt = thumbprint_of(jwk)
    ath = p.base64url(p.sha256(accessToken.encode()))
    return {"jkt": jkt, "subject": m.token_subject(jkt), "ath": ath}


def sign_in(origin, chainId, gateway, address, nonce, issuedAt, lane):
    from defaas.gateway import sign_in_message

    message = sign_in_message(
        origin=origin,
        chain_id=chainId,
        gateway=gateway,
        address=address,
        nonce=nonce,
        issued_at=issuedAt,
        lane=lane,
    )
    return {"message": message.split("\n")}


def voucher(domain, voucher, privateKey):
    found = signed(domain, "Voucher", voucher, privateKey)
    return {**found, "header": f"{voucher['ceiling']}:{found['signature']}"}


def own_nonce(privateKey, idempotencyKey, functionId, maxPrice):
    key = m.own_calls_key(p.from_hex(privateKey))
    nonce = m.own_nonce(key, idempotencyKey, int(functionId, 16), int(maxPrice))
    return {
        "key": p.to_hex(key),
        "r": nonce[:34],
        "tag": "0x" + nonce[34:],
        "nonce": nonce,
    }


def commitments(salt, method, target, body, status, answer):
    return {
        "input": m.commit_request(salt, method, target, body.encode()),
        "output": m.commit_answer(salt, status, answer.encode()),
    }


def signed_call(domain, call, privateKey):
    found = signed(domain, "Call", call, privateKey)
    return {"structHash": m.struct_hash("Call", call), **found}


def receipt(domain, document):
    shown, group = document["receipt"], document["group"]
    digest = m.typed_digest(domain, "ReceiptGroup", {**group, "gateway": shown["gateway"]})
    assert p.follow(document["id"], group["index"], group["count"], group["path"]) == group["root"]
    return {
        "call": m.struct_hash("Call", document["call"]),
        "execution": m.struct_hash("Execution", document["execution"]),
        "receipt": m.struct_hash("Receipt", shown),
        "groupDigest": p.to_hex(digest),
        "signedBy": p.recover(digest, group["signature"]),
    }


def mandate(domain, mandate, item, privateKey):
    found = signed(domain, "Mandate", mandate, privateKey)
    nonce = m.mandated_nonce(found["digest"], item)
    return {"hash": found["digest"], "signature": found["signature"], "nonce": nonce}


def tree(leaves):
    paths = [p.path_of(leaves, index) for index in range(len(leaves))]
    root = p.root_of(leaves)
    assert all(p.follow(leaves[i], i, len(leaves), path) == root for i, path in enumerate(paths))
    return {"root": root, "paths": paths}


def epoch(chainId, epoch, blockHash):
    return {"value": m.epoch_value(chainId, epoch, blockHash)}


def draw(value, payer, signer, nonce, ids):
    seed = m.draw_seed(value, {"payer": payer, "signer": signer, "nonce": nonce})
    return {"seed": seed, "order": m.draw_order(seed, ids)}


def batch(blocks_given, timestampSec):
    found = {}
    for block in blocks_given:
        data = bytes.fromhex("".join(block["hex"]))
        found[m.cid_of(block["codec"], p.to_hex(p.sha256(data)))] = data
    cids = list(found)
    root = blocks.read_root(found[cids[-1]])
    ids = []
    for lane in root["lanes"]:
        for page in lane["pages"]:
            rows = blocks.read_page(found[page], root["gateway"], lane["claim"])
            ids += [row["id"] for row in rows]
    claims = [blocks.claim_leaf(lane["claim"]) for lane in root["lanes"]]
    return {
        "cids": cids,
        "receipts": ids,
        "laneRoot": p.root_of(ids),
        "claims": claims,
        "root": p.root_of(claims),
        "word": blocks.batch_word(root["root"], len(claims), timestampSec),
    }


def limits():
    return {
        "pageBytes": blocks.MAX_PAGE_BYTES,
        "rootBlockBytes": blocks.MAX_ROOT_BYTES,
        "accessTokenSec": 600,
        "signInNonceSec": 300,
    }


RECOMPUTE = {
    "hashes": hashes,
    "address": address,
    "domain": lambda domain: {"separator": m.separator(domain)},
    "names": names,
    "cid": lambda codec, digest: {"cid": m.cid_of(codec, digest)},
    "price": price,
    "thumbprint": thumbprint,
    "sign-in": sign_in,
    "voucher": voucher,
    "own-nonce": own_nonce,
    "commitments": commitments,
    "signed-call": signed_call,
    "receipt": receipt,
    "mandate": mandate,
    "tree": tree,
    "epoch": epoch,
    "draw": draw,
    "batch": lambda blocks, timestampSec: batch(blocks, timestampSec),
    "payout": lambda domain, payout, privateKey: signed(domain, "Payout", payout, privateKey),
    "limits": limits,
}


def main(page):
    with open(page, encoding="utf-8") as file:
        found = re.findall(r"^```json example ([a-z-]+)\n(.*?)^```$", file.read(), re.M | re.S)
    for name, text in found:
        example = json.loads(text)
        gives = RECOMPUTE[name](**example["given"])
        if gives != example["gives"]:
            here, there = json.dumps(gives), json.dumps(example["gives"])
            sys.exit(f"{name}: this gives {here}, the page says {there}")
    print(json.dumps({"examples": [name for name, _ in found]}))


if __name__ == "__main__":
    main(sys.argv[1])
