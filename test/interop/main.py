#!/usr/bin/python3
"""
The client and the auditor as programs: main.py pay | verify | audit | payouts. Reads one JSON
document from standard input and prints one. `place` says where: url, rpcUrl, chainId, contracts,
fromBlock, gateway (account).
"""
import base64
import json
import sys

from cryptography.hazmat.primitives.asymmetric import ec

from defaas.auditor import Auditor, voucher_signer
from defaas.batch import Refused
from defaas.chain import Chain
from defaas.disputes import check_overcharge
from defaas.gateway import DpopKey, Gateway, jwk_of
from defaas.messages import token_subject, worst_price
from defaas.payer import Payer
from defaas.primitives import from_base64url, from_hex
from defaas.receipts import ReceiptInvalid, verify


def chain_of(place):
    return Chain(place["rpcUrl"], place["chainId"], place["contracts"], place["fromBlock"])


def pay(place, payer, laneKey, signedLaneKey, payerKey, function, failing):
    """
    Calls through a prepaid lane, a signed lane, a service account and a token that is handed on;
    checks all receipts.
    """
    chain = chain_of(place)
    gateway = Gateway(place["url"], chain, place["gateway"])
    lane_key = from_hex(laneKey)
    prepaid = Payer(gateway, chain, payer, lane_key)
    lane = (payer, prepaid.signer)
    prepaid.token = gateway.sign_in(lane_key, lane, DpopKey())

    first = prepaid.call(function, "POST", "/greet?lang=en", b'{"name":"Ada"}', key="order-17")
    again = prepaid.call(function, "POST", "/greet?lang=en", b'{"name":"Ada"}', key="order-17")
    prepaid.call(function, "GET", "?name=B%C3%A9la")
    failed = prepaid.call(failing, "POST", "", b"x")
    event = {"specversion": "1.0", "id": "1", "source": "/interop", "type": "interop.test"}
    binary = {f"ce-{name}": value for name, value in event.items()}
    prepaid.call(function, "POST", "/event", b"{}", headers=binary)
    prepaid.acknowledge()

    terms = chain.price_terms(chain.function(function)[1])
    client, account = service_account(gateway, payerKey, prepaid.signer)
    unbound = account.send("GET", f"/functions/{function}/service")
    prepaid.mandate(token_subject(client), function, worst_price(terms), worst_price(terms))
    served = account.send("GET", f"/functions/{function}/service")
    prepaid.acknowledge()

    handed_on = gateway.sign_in(lane_key, lane)
    claims = json.loads(from_base64url(handed_on.text.split(".")[1]))
    limit = worst_price(terms)
    mandate = prepaid.mandate(token_subject(claims["jti"]), function, limit, 10 * limit)
    under = handed_on.send("GET", f"/functions/{function}/handed-on")
    beyond = handed_on.send("GET", f"/functions/{failing}")
    prepaid.acknowledge()

    signed = Payer(gateway, chain, payer, from_hex(signedLaneKey), is_signed=True)
    signed.call(function, "PUT", "/a/b?c=1", bytes(range(256)))
    signed.call(function)
    signed.acknowledge()

    wrong = prepaid.token.send("GET", f"/lanes/{payer}/{payer}")
    return {
        "replayed": again.headers.get("idempotent-replayed") == "true"
        and again.headers["defaas-receipt"] == first.headers["defaas-receipt"],
        "failed": failed.json()["code"],
        "service": [unbound.json()["code"], served.status],
        "mandate": {"hash": mandate, "status": under.status, "beyond": beyond.json()["code"]},
        "refused": wrong.json()["code"],
        "lanes": [shown(prepaid), shown(signed)],
    }


def service_account(gateway, payer_key, signer):
    key = ec.generate_private_key(ec.SECP256R1())
    registration = {"jwk": jwk_of(key), "lane": {"signer": signer}}
    account = gateway.sign_in(from_hex(payer_key))
    client = account.put_json("/oauth/clients/interop", registration).json()["client_id"]
    return client, gateway.service_token(client, key, DpopKey())


def shown(payer):
    """A lane as it was checked: its receipts with what was sent and what came back."""
    return {
        "signer": payer.signer,
        "signed": str(payer.signed),
        "verifiedUnits": str(payer.verified_units),
        "mandates": list(payer.mandates),
        "receipts": [
            {"document": document, **({"call": plain(call)} if call else {})}
            for document, call in payer.receipts
        ],
    }


def plain(call):
    sent, answer = dict(call["sent"]), dict(call["answer"])
    for one in (sent, answer):
        one["body"] = base64.b64encode(one["body"]).decode()
    return {"sent": sent, "answer": answer, "elapsedMs": call["elapsedMs"]}


def check(place, payer, laneKey, cases):
    """By name of a case: null where its document holds, else why not."""
    chain = chain_of(place)
    gateway = Gateway(place["url"], chain, place["gateway"])
    expected = Payer(gateway, chain, payer, from_hex(laneKey)).expectations()
    found = {}
    for name, case in cases.items():
        call = case["call"]
        for part in (call["sent"], call["answer"]):
            part["body"] = base64.b64decode(part["body"])
        document = case["document"]
        receipt = document["receipt"]
        before = int(receipt["cumulative"]) - int(receipt["price"])
        after = case.get("after") or [receipt["seq"] - 1, before]
        try:
            verify(document, {**expected, **call, "after": after}, chain)
            found[name] = None
        except ReceiptInvalid as error:
            found[name] = {"why": str(error), "stops": error.stops}
    return found


def audit(place, receipts, blocksAt=None, rootCid=None):
    """All batches of the gateway, and whether the receipts stand in them."""
    chain = chain_of(place)
    auditor = Auditor(chain, place["gateway"], blocksAt or place["url"])
    batches, missing, overcharges = [], set(receipts), []
    for settled in auditor.settlements():
        found = {"batch": settled["batch"], "root": settled["root"]}
        try:
            lanes = auditor.rebuild(settled, rootCid)
        except Refused as error:
            batches.append({**found, "refused": error.code})
            continue
        missing -= {one for one in receipts if auditor.stands_in(one, settled, lanes)}
        found["receipts"] = sum(len(rows) for rows in lanes)
        found["findings"] = auditor.judge(settled, lanes)
        batches.append(found)
        overcharges += overcharges_in(auditor, settled, lanes, found["findings"])
    return {"batches": batches, "missing": sorted(missing), "overcharges": overcharges}


def overcharges_in(auditor, settled, lanes, findings):
    """What the chain says of receipts above their tariff: by batch and seq, fraud and damage."""
    told = []
    for claim_index, rows in enumerate(lanes):
        for index, row in enumerate(rows):
            if ("PRICE_ABOVE_TARIFF", row["receipt"]["seq"]) in findings:
                arguments = (settled, lanes, claim_index, index)
                verdict = check_overcharge(auditor.chain, auditor.gateway, *arguments)
                told.append([settled["batch"], row["receipt"]["seq"], *verdict])
    return told


def payouts(place, payee):
    """The newest payout voucher, and whether a key of the gateway in force has signed it."""
    chain = chain_of(place)
    gateway = Gateway(place["url"], chain, place["gateway"])
    statement = gateway.request("GET", f"/payouts/{payee}").json()
    auditor = Auditor(chain, place["gateway"], place["url"])
    voucher = statement["voucher"]
    if voucher is None:
        return {"voucher": None}
    key = voucher_signer(auditor.domain, place["gateway"], payee, voucher)
    in_force = key == voucher["key"] and chain.is_key_in_force(key, place["gateway"])
    return {"voucher": voucher["cumulativeUnits"], "isInForce": in_force}


COMMANDS = {"pay": pay, "verify": check, "audit": audit, "payouts": payouts}

if __name__ == "__main__":
    print(json.dumps(COMMANDS[sys.argv[1]](**json.load(sys.stdin))))
