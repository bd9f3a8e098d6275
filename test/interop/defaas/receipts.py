"""What a payer checks of a receipt document (9.4, 10.4)."""
import time

from .messages import (
    commit_answer,
    commit_request,
    digest_of,
    is_own_nonce,
    keyed_half,
    mandated_nonce,
    price_of,
    struct_hash,
    typed_digest,
)
from .primitives import ZERO_WORD, follow, from_hex, recover, to_hex

GRACE_SEC = 1200
DAY_SEC = 86_400


class ReceiptInvalid(Exception):
    """`stops` says whether it is a contradiction under the gateway's own signature."""

    def __init__(self, why, stops=False):
        super().__init__(why)
        self.stops = stops


def check(holds, why, stops=False):
    if not holds:
        raise ReceiptInvalid(why, stops)


def verify(document, expected, chain):
    """
    Checks a document. `expected`: domain, gateway, payer, signer; and where they are known: after
    (verifiedSeq, verifiedUnits), signed (highest ceiling), isSigned, ownKey, mandates (by hash),
    sent (method, target, body, functionVersion, idempotencyKey), answer (status, body), elapsedMs.
    Returns what it is paid for: what may be charged once.
    """
    receipt, call, execution = document["receipt"], document["call"], document["execution"]
    verify_signed(document, expected, chain)
    price, cumulative = int(receipt["price"]), int(receipt["cumulative"])
    if "after" in expected:
        seq, units = expected["after"]
        check(receipt["seq"] == seq + 1, f"seq {receipt['seq']} does not follow {seq}")
        check(cumulative == units + price, "the sum is not carried on", True)
    terms = chain.price_terms(call["functionVersion"])
    check(terms is not None, "the version was never published")
    function = chain.function_of(call["functionVersion"])
    if expected.get("isSigned") and call["authority"] == ZERO_WORD:
        digest = digest_of(expected["domain"], receipt["call"])
        by = recover(digest, document.get("callSignature", "0x"))
        check(by == expected["signer"], "the lane's key has not signed the Call", True)
    paid_for = verify_owner(document, expected, function)
    check(price <= int(call["maxPrice"]), "the price is above the Call's maximum", True)
    check(price <= price_of(execution, terms), "the price is above the tariff's", True)
    if "elapsedMs" in expected:
        most = {**execution, "billedMs": min(execution["billedMs"], expected["elapsedMs"])}
        check(price <= price_of(most, terms), "more time is billed than the answer took", True)
    if "signed" in expected:
        check(cumulative <= expected["signed"], "it comes to more than was signed")
    verify_sent(document, expected)
    check("salt" in document, "it is shown without its salt")
    return paid_for


def verify_signed(document, expected, chain):
    receipt, group = document["receipt"], document["group"]
    check(struct_hash("Receipt", receipt) == document["id"], "it is not what its id says")
    for name in ("call", "execution"):
        found = struct_hash(name.capitalize(), document[name])
        check(found == receipt[name], f"it is over another {name} than is shown")
    lane = (expected["payer"], expected["gateway"], expected["signer"])
    for named in (receipt, document["call"]):
        is_ours = (named["payer"], named["gateway"], named["signer"]) == lane
        check(is_ours, "it is of another lane")
    root = follow(document["id"], group["index"], group["count"], group["path"])
    check(root == group["root"], "it does not stand in its signed group")
    message = {**group, "gateway": expected["gateway"]}
    key = recover(typed_digest(expected["domain"], "ReceiptGroup", message), group["signature"])
    in_force = key is not None and chain.is_key_in_force(key, expected["gateway"])
    check(in_force, "its group is signed by no key of the gateway")


def verify_owner(document, expected, function):
    call = document["call"]
    if call["authority"] != ZERO_WORD:
        mandate = expected.get("mandates", {}).get(call["authority"])
        check(mandate is not None, "the lane has signed no such mandate", True)
        verify_mandated(document, mandate, function)
        return call["nonce"]
    if "ownKey" in expected:
        own = is_own_nonce(expected["ownKey"], call["nonce"], function, int(call["maxPrice"]))
        check(own, "nobody with the lane's key has made the call", True)
    return f"{call['nonce'][:34]}:{function}"


def verify_mandated(document, mandate, function):
    """`mandate` has the fields of section 10, `spent`, base units by UTC day, and `from` (10.3)."""
    call, price = document["call"], int(document["receipt"]["price"])
    nonce = mandated_nonce(call["authority"], document.get("item", ZERO_WORD))
    check(nonce == call["nonce"], "its item does not give its nonce", True)
    of = int(mandate["functionId"])
    check(of in (0, function), "the mandate is for another function", True)
    if price == 0:
        return
    ended = document["execution"]["finishedAtSec"]
    counted, spent = counted_sec(mandate, document), mandate["spent"]
    check(price <= int(mandate["maxPrice"]), "it costs more than the mandate allows", True)
    check(ended <= time.time() + GRACE_SEC, "it ended in the future")
    # Where that holds of `ended` too, it is no matter of this machine's clock.
    for at, stops in ((ended, True), (counted, False)):
        check(at <= mandate["untilSec"] + GRACE_SEC, "the mandate was over", stops)
        day = spent.get(at // DAY_SEC, 0) + price
        check(day <= int(mandate["perDay"]), "it is above the mandate's day", stops)
    check(sum(spent.values()) + price <= int(mandate["total"]), "the mandate is used up", True)


def counted_sec(mandate, document):
    """When a receipt counts under its mandate, Unix seconds (10.3)."""
    looked = min(mandate["from"], int(time.time()))
    return max(document["execution"]["finishedAtSec"], looked)


def verify_sent(document, expected):
    """What this very call asked for."""
    call, execution = document["call"], document["execution"]
    sent, answer = expected.get("sent"), expected.get("answer")
    if sent is None:
        return
    check(call["functionVersion"] == sent["functionVersion"], "it is for another version")
    if "ownKey" in expected and call["authority"] == ZERO_WORD:
        half = to_hex(keyed_half(expected["ownKey"], sent["idempotencyKey"]))
        check(call["nonce"].startswith(half), "its nonce is not that of the key")
    salt = document.get("salt")
    check(salt is not None, "it is shown without its salt")
    from_hex(salt, 32)
    asked = commit_request(salt, sent["method"], sent["target"], sent["body"])
    check(asked == execution["input"], "it is for another request than was sent")
    if execution["status"] != 0 and answer is not None:
        came = commit_answer(salt, execution["status"], answer["body"])
        check(came == execution["output"], "it is for another answer than came back")
        check(answer["status"] == execution["status"], "it has another status than came back")
