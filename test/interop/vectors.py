#!/usr/bin/python3
"""
Computes the vectors that hold our contracts and their TypeScript together: vectors.py <page>
<folder>. The signed types are taken from the table of the page. Exits 1 at the first that differs,
else prints how many there are per file.
"""
import json
import os
import re
import sys

from defaas import messages as m
from defaas.batch import claim_leaf
from defaas.primitives import follow, keccak256, path_of, root_of, to_hex, word


def same(found, expected, what):
    if found != expected:
        sys.exit(f"{what}: this gives {found}, the vector says {expected}")
    return 1


def numbers(row):
    """Decimal text as numbers."""
    is_number = re.compile(r"\d+").fullmatch
    return {k: int(v) if isinstance(v, str) and is_number(v) else v for k, v in row.items()}


def draws(given):
    count = 0
    for draw in given["draws"]:
        count += same(m.draw_seed(draw["value"], draw), draw["seed"], "seed")
        count += same(m.draw_order(draw["seed"], draw["ids"]), draw["order"], "order")
    return count


def trees(given):
    count = 0
    for tree in given["trees"]:
        leaves = [to_hex(keccak256(word(index))) for index in range(tree["count"])]
        count += same(root_of(leaves), tree["root"], f"root of {tree['count']}")
        for path in tree["paths"]:
            index = path["index"]
            count += same(path_of(leaves, index), path["path"], f"path of {index}")
            leads = follow(leaves[index], index, len(leaves), path["path"])
            count += same(leads, tree["root"], f"root by the path of {index}")
            longer = follow(leaves[index], index, len(leaves), [*path["path"], tree["root"]])
            count += same(longer, None, f"root by a longer path of {index}")
    return count


def tariffs(given):
    count = 0
    for price in given["prices"]:
        terms = {**numbers(price["terms"]["tariff"]), **price["terms"]}
        count += same(str(m.price_of(price["execution"], terms)), price["price"], "price")
    for split in given["splits"]:
        shares = m.split_price(int(split["price"]), split["feeBps"], split["publisherBps"])
        count += same({k: str(v) for k, v in shares.items()}, split["shares"], "shares")
    return count


def receipts(given):
    count = 0
    for name, type_hash in given["typeHashes"].items():
        count += same(to_hex(keccak256(m.TYPES[name].encode())), type_hash, f"type {name}")
    for kind, name in (("receipts", "Receipt"), ("calls", "Call"), ("executions", "Execution")):
        for one in given[kind]:
            count += same(m.struct_hash(name, one[name.lower()]), one["hash"], name)
    for one in given["claims"]:
        count += same(claim_leaf(numbers(one["claim"])), one["hash"], "claim")
    for one in given["batchWords"]:
        parts = (one["root"], one["outside"], one["claims"], one["timestampSec"])
        found = to_hex(keccak256(b"".join(map(word, parts))))
        count += same(found, one["word"], "word")
    return count


def typed_data(given):
    count = 0
    for one in given["domains"].values():
        count += same(m.separator(one["domain"]), one["separator"], "separator")
    for one in given["messages"]:
        domain = given["domains"][one["domain"]]["domain"]
        digest = to_hex(m.typed_digest(domain, one["type"], one["message"]))
        count += same(digest, one["digest"], one["type"])
    return count


FILES = {
    "draw.json": draws,
    "ordered-merkle.json": trees,
    "tariffs.json": tariffs,
    "receipts.json": receipts,
    "typed-data.json": typed_data,
}


def main(page, folder):
    with open(page, encoding="utf-8") as file:
        row = re.compile(r"^\| \S+ \| `(\w+)(\([^`]+\))` \| `0x[0-9a-f]{64}` \|$", re.M)
        rows = row.findall(file.read())
    m.TYPES.update({name: name + fields for name, fields in rows if name not in m.TYPES})
    counts = {}
    for name, compute in FILES.items():
        with open(os.path.join(folder, name), encoding="utf-8") as file:
            counts[name] = compute(json.load(file))
    print(json.dumps(counts))


if __name__ == "__main__":
    main(*sys.argv[1:])
