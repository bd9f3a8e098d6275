"""A payer's client of one lane: calls, and vouchers no further than was checked (7 to 10)."""
import json
import secrets
import time

from . import messages as m
from .primitives import ZERO_WORD, address_of, base64url, sign_digest, to_hex
from .receipts import GRACE_SEC, ReceiptInvalid, counted_sec, verify

STEP_UNITS = 100_000
DEADLINE_SLACK_SEC = 120
DAY_SEC = 86_400


class Payer:
    """`private_key` is that of the lane's signer. `token` is left out in signed lanes."""

    def __init__(self, gateway, chain, payer, private_key, *, token=None, is_signed=False):
        self.gateway, self.chain, self.token, self.is_signed = gateway, chain, token, is_signed
        self.payer, self.private_key = payer, private_key
        self.signer = address_of(private_key)
        self.own_key = m.own_calls_key(private_key)
        self.domain = m.billing_domain(chain.chain_id, chain.contracts["billing"])
        self.step = 0 if is_signed else STEP_UNITS
        self.signed = self.verified_seq = self.verified_units = 0
        # Calls in flight by number of the try, receipts that replies have named (id, try) by seq.
        self.in_flight, self.named, self.paid, self.mandates = {}, {}, {}, {}
        self.tries = 0
        self.receipts = []

    # ---- calls

    def call(self, function, method="GET", target="", body=b"", key=None, headers=None):
        """Sends one call and returns its Reply; its receipt is checked by `acknowledge`."""
        key = key or secrets.token_hex(16)
        function_id, version = self.chain.function(function)
        terms = self.chain.price_terms(version)
        maximum = m.worst_price(terms)
        call = {"sent": self._sent(method, target, body, version, key), "maximum": maximum}
        own = {**(headers or {}), "idempotency-key": key}
        nonce = m.own_nonce(self.own_key, key, function_id, maximum)
        if self.is_signed:
            own["defaas-call"] = self._signed_call(call, nonce, terms)
        else:
            own.update({"defaas-nonce": nonce, "defaas-max-price": str(maximum)})
        self.tries += 1
        one = self.tries
        self.in_flight[one] = call
        self._cover()
        for _ in range(3):
            started = time.monotonic()
            sender = self.gateway if self.is_signed else self.token
            own.update(self._voucher())
            reply = sender.send(method, f"/functions/{function}{target}", own, body or None)
            elapsed = int((time.monotonic() - started) * 1000) + 2
            if "defaas-receipt" in reply.headers:
                return self._answered(one, call, reply, elapsed)
            problem = reply.json()
            if problem["code"] == "PAYMENT_REQUIRED" and problem["reason"] == "ceiling":
                self.acknowledge()
                self._raise()
                continue
            break
        del self.in_flight[one]
        return reply

    def _sent(self, method, target, body, version, key):
        return {
            "method": method,
            "target": target,
            "body": body,
            "functionVersion": version,
            "idempotencyKey": key,
        }

    def _signed_call(self, call, nonce, terms):
        sent = call["sent"]
        salt = to_hex(secrets.token_bytes(32))
        version = sent["functionVersion"]
        epoch = self.gateway.request("GET", f"/epochs/latest?version={version}").json()["epoch"]
        message = {
            "payer": self.payer,
            "gateway": self.gateway.account,
            "signer": self.signer,
            "nonce": nonce,
            "functionVersion": version,
            "input": m.commit_request(salt, sent["method"], sent["target"], sent["body"]),
            "maxPrice": str(call["maximum"]),
            "deadlineSec": int(time.time()) + -(-terms["timeoutMs"] // 1000) + DEADLINE_SLACK_SEC,
            "beacon": epoch,
            "authority": ZERO_WORD,
        }
        digest = m.typed_digest(self.domain, "Call", message)
        whole = {**message, "salt": salt, "signature": sign_digest(self.private_key, digest)}
        return base64url(json.dumps(whole).encode())

    def _answered(self, one, call, reply, elapsed):
        seq, receipt = int(reply.headers["defaas-seq"]), reply.headers["defaas-receipt"]
        if "idempotent-replayed" in reply.headers or seq <= self.verified_seq:
            del self.in_flight[one]
            return reply
        call.update(price=int(reply.headers["defaas-price"]), elapsedMs=elapsed, seq=seq)
        call["answer"] = {"status": reply.status, "body": reply.body}
        self.named[seq] = (receipt, one)
        return reply

    # ---- how far it signs (7.3)

    def _cover(self):
        expected = sum(call.get("price", call["maximum"]) for call in self.in_flight.values())
        if self.signed < self.verified_units + expected + self._allowances():
            self.acknowledge()
            self._raise()

    def _raise(self):
        in_flight = sum(call["maximum"] for call in self.in_flight.values())
        room = max(self.step - self._overdrawn(), in_flight) + self._allowances()
        self.signed = max(self.signed, self.verified_units + room)

    def _allowances(self):
        """What the mandates may charge today; those of one name share a day (10.3)."""
        left = 0
        for alike in self._alike():
            open_ones = [one for one in alike if time.time() < one["untilSec"]]
            in_all = sum(int(one["total"]) - sum(one["spent"].values()) for one in open_ones)
            of_day = day_of(open_ones) - sum(map(spent_today, alike))
            left += max(min(of_day, in_all), 0)
        return left

    def _overdrawn(self):
        """What was spent today beyond such days: the step has left room for it (10.3)."""
        beyond = 0
        for alike in self._alike():
            of_today = [one for one in alike if time.time() < one["untilSec"] or spent_today(one)]
            beyond += max(sum(map(spent_today, of_today)) - day_of(of_today), 0)
        return beyond

    def _alike(self):
        by_name = {}
        for one in self.mandates.values():
            name = (one["kind"], one["subject"], one["functionId"])
            by_name.setdefault(name, []).append(one)
        return by_name.values()

    def _voucher(self):
        if self.signed == 0:
            return {}
        return {"defaas-voucher": f"{self.signed}:{self.voucher_signature()}"}

    def voucher_signature(self):
        voucher = {
            "payer": self.payer,
            "gateway": self.gateway.account,
            "signer": self.signer,
            "ceiling": self.signed,
        }
        return sign_digest(self.private_key, m.typed_digest(self.domain, "Voucher", voucher))

    # ---- mandates (section 10)

    def mandate(self, subject, function, maximum, total, life_sec=3600):
        """Signs a mandate for a token, covers it by a voucher, and puts both. Returns its hash."""
        mandate = {
            "payer": self.payer,
            "gateway": self.gateway.account,
            "signer": self.signer,
            "kind": 1,
            "subject": subject,
            "functionId": str(self.chain.function(function)[0]),
            "maxPrice": str(maximum),
            "perDay": str(total),
            "total": str(total),
            "untilSec": int(time.time()) + life_sec,
            "serial": str(secrets.randbits(62)),
        }
        digest = m.typed_digest(self.domain, "Mandate", mandate)
        self.mandates[to_hex(digest)] = {**mandate, "spent": {}, "from": int(time.time())}
        self.acknowledge()
        self._raise()
        lane = f"/lanes/{self.payer}/{self.signer}"
        voucher = {"ceiling": str(self.signed), "signature": self.voucher_signature()}
        self._put(f"{lane}/voucher", voucher)
        of_lane = ("payer", "gateway", "signer")
        terms = {name: value for name, value in mandate.items() if name not in of_lane}
        signature = sign_digest(self.private_key, digest)
        self._put(f"{lane}/mandates/{to_hex(digest)}", {**terms, "signature": signature})
        return to_hex(digest)

    def _put(self, target, value):
        headers = {"content-type": "application/json"}
        return self.gateway.request("PUT", target, headers, json.dumps(value).encode())

    # ---- receipts (9.4)

    def expectations(self):
        return {
            "domain": self.domain,
            "gateway": self.gateway.account,
            "payer": self.payer,
            "signer": self.signer,
            "ownKey": self.own_key,
            "isSigned": self.is_signed,
            "mandates": self.mandates,
        }

    def acknowledge(self):
        """Checks all receipts since the last time. Raises ReceiptInvalid."""
        token = self.token or self.gateway.sign_in(
            self.private_key, (self.payer, self.signer)
        )
        named, looked = dict(self.named), int(time.time())
        after = self.verified_seq
        while after is not None:
            query = f"lane={self.payer}:{self.signer}&after={after}&limit=200"
            page = token.request("GET", f"/receipts?{query}").json()
            for document in page["receipts"]:
                self._check(document)
            after = page["next"]
        for seq, (receipt, _) in named.items():
            if seq > self.verified_seq:
                raise ReceiptInvalid(f"receipt {receipt} (seq {seq}) is not shown")
        for mandate in self.mandates.values():
            mandate["from"] = max(mandate["from"], looked - GRACE_SEC)

    def _check(self, document):
        receipt, call = document["receipt"], document["call"]
        named, one = self.named.get(receipt["seq"], (None, None))
        known = self.in_flight.get(one, {})
        expected = {
            **self.expectations(),
            "after": (self.verified_seq, self.verified_units),
            "signed": self.signed,
        }
        if known:
            expected.update({name: known[name] for name in ("sent", "answer", "elapsedMs")})
        paid_for = verify(document, expected, self.chain)
        price = int(receipt["price"])
        if named not in (None, document["id"]):
            raise ReceiptInvalid(f"a reply has named {named} at this seq", True)
        if price > 0 and paid_for in self.paid:
            raise ReceiptInvalid("its call was paid before", True)
        self.verified_seq, self.verified_units = receipt["seq"], int(receipt["cumulative"])
        if price > 0:
            self.paid[paid_for] = document["id"]
            mandate = self.mandates.get(call["authority"])
            if mandate is not None:
                day = counted_sec(mandate, document) // DAY_SEC
                mandate["spent"][day] = mandate["spent"].get(day, 0) + price
        self.in_flight.pop(one, None)
        self.named.pop(receipt["seq"], None)
        self.receipts.append((document, known))


def spent_today(mandate):
    """Also tomorrow, by a gateway whose clock is ahead."""
    today = int(time.time()) // DAY_SEC
    return sum(mandate["spent"].get(day, 0) for day in (today, today + 1))


def day_of(mandates):
    """The longest of their days, base units."""
    return max((int(one["perDay"]) for one in mandates), default=0)
