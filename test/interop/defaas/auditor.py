"""
An auditor: a gateway's batches rebuilt from the chain's logs and the blocks of whoever has them
(sections 13 and 14).
"""
import urllib.error
import urllib.request

from . import messages as m
from .batch import Refused, batch_word, checked_block, claim_leaf, read_page, read_root
from .chain import TIMEOUT_SEC, address, number
from .primitives import follow, path_of, recover, root_of, to_hex, word

PASSED_OVER = ("NOT_LIVE", "POLICY", "CIRCUIT_OPEN", "LOAD")


class Auditor:
    """`blocks_at` is the origin of any trustless IPFS gateway."""

    def __init__(self, chain, gateway, blocks_at):
        self.chain, self.gateway, self.blocks_at = chain, gateway, blocks_at
        self.domain = m.billing_domain(chain.chain_id, chain.contracts["billing"])
        self._signers, self._charged = {}, set()
        self._read_logs()

    # ---- the chain's logs

    def _read_logs(self):
        chain, of_gateway = self.chain, to_hex(word(self.gateway))
        self.keys = {}
        for log in chain.logs("identity", "KeyAdded(address,address,uint8)", of_gateway):
            key, role = address(log["topics"][2]), number(log["data"][0])
            if role & 1:
                self.keys[key] = {"from": chain.timestamp(log["block"]), "until": None}
        for log in chain.logs("identity", "KeyRetired(address,address,uint40)", of_gateway):
            key = address(log["topics"][2])
            if key in self.keys:
                self.keys[key]["until"] = number(log["data"][0])
        self.deployments = {}
        enrolled = "Enrolled(uint64,bytes32,address,string,string)"
        for log in chain.logs("registry", enrolled):
            deployment, version, provider = log["topics"][1:]
            self.deployments[number(deployment)] = (to_hex(version), address(provider))
        self.sets = {}
        announced = "CandidatesSet(bytes32,address,uint32,uint64,uint64[])"
        for log in chain.logs("registry", announced, None, of_gateway):
            data = log["data"]
            at = number(data[2]) // 32
            ids = [number(one) for one in data[at + 1 : at + 1 + number(data[at])]]
            self.sets.setdefault(to_hex(log["topics"][1]), []).append((number(data[1]), ids))
        self.epochs, self.recorded = {}, []
        for log in chain.logs("beacon", "Checkpointed(uint64,uint192)"):
            epoch = number(log["topics"][1])
            self.epochs[epoch] = to_hex(log["data"][0][8:])
            self.recorded.append((log["block"], epoch))
        self.owners = {}
        for log in chain.logs("registry", "Transfer(address,address,uint256)"):
            owners = self.owners.setdefault(number(log["topics"][3]), [])
            owners.append((log["block"], address(log["topics"][2])))
        # From when the announcement is known, the fee until it counts, the fee then, and from when.
        self.fees = [(0, 0, 0, 0)]
        for log in chain.logs("billing", "FeeAnnounced(address,uint16,uint256)", of_gateway):
            announced_at = chain.timestamp(log["block"])
            bps, since = number(log["data"][0]), number(log["data"][1])
            self.fees.append((announced_at, self._fee_at(announced_at), bps, since))

    def _fee_at(self, timestamp):
        _, until, bps, since = [one for one in self.fees if one[0] <= timestamp][-1]
        return bps if timestamp >= since else until

    def settlements(self):
        """The batches in order, with their claims and payouts."""
        chain, of_gateway = self.chain, to_hex(word(self.gateway))
        claimed = "Claimed(address,address,address,uint88,uint40,bytes32)"
        paid_out = "Paid(address,address,uint256)"
        events = [
            *(("claim", log) for log in chain.logs("billing", claimed, None, of_gateway)),
            *(("paid", log) for log in chain.logs("billing", paid_out, of_gateway)),
            *(
                ("settled", log)
                for log in chain.logs(
                    "billing",
                    "BatchSettled(address,uint32,bytes32,bytes32,uint256,uint256)",
                    of_gateway,
                )
            ),
        ]
        lanes, claims, paid, batches = {}, [], {}, []
        for kind, log in sorted(events, key=lambda one: (one[1]["block"], one[1]["index"])):
            if kind == "claim":
                payer, signer = address(log["topics"][1]), address(log["topics"][3])
                settled_from, seq_from = lanes.get((payer, signer), (0, 0))
                settled_to, seq_to = number(log["data"][0]), number(log["data"][1])
                lanes[payer, signer] = (settled_to, seq_to)
                claims.append(
                    {
                        "payer": payer,
                        "signer": signer,
                        "settledFrom": settled_from,
                        "settledTo": settled_to,
                        "seqFrom": seq_from,
                        "seqTo": seq_to,
                        "receipts": to_hex(log["data"][2]),
                    }
                )
            elif kind == "paid":
                payee = address(log["topics"][2])
                paid[payee] = paid.get(payee, 0) + number(log["data"][0])
            else:
                root, cid, total, fee = log["data"]
                batches.append(
                    {
                        "batch": number(log["topics"][2]),
                        "root": to_hex(root),
                        "cid": m.cid_of(m.CODECS["dag-cbor"], to_hex(cid)),
                        "total": number(total),
                        "fee": number(fee),
                        "timestamp": chain.timestamp(log["block"]),
                        "claims": claims,
                        "paid": paid,
                    }
                )
                claims, paid = [], {}
        return batches

    # ---- one batch (13.3)

    def block(self, cid):
        url = f"{self.blocks_at}/ipfs/{cid}?format=raw"
        try:
            with urllib.request.urlopen(url, timeout=TIMEOUT_SEC) as reply:
                return checked_block(cid, reply.read())
        except urllib.error.URLError as error:
            raise Refused("BATCH_BLOCK_MISSING", f"no block {cid}: {error}") from error

    def rebuild(self, settled, cid=None):
        """
        The receipts per claim, once they are known to be those that were settled. `cid` is that of
        another root block than the chain names. Raises Refused.
        """
        claims = settled["claims"]
        root = root_of([claim_leaf(claim) for claim in claims])
        if root != settled["root"]:
            raise Refused("CLAIM_MISMATCH", "the logs' claims do not give the event's root")
        stored = batch_word(root, len(claims), settled["timestamp"])
        if stored != self.chain.batch_word(self.gateway, settled["batch"]):
            raise Refused("HEADER_MISMATCH", "Billing stores another word")
        shown = read_root(self.block(cid or settled["cid"]))
        names = ("chainId", "billing", "gateway", "batch", "root")
        header = tuple(shown[name] for name in names)
        billing = self.chain.contracts["billing"]
        if header != (self.chain.chain_id, billing, self.gateway, settled["batch"], root):
            raise Refused("HEADER_MISMATCH", "the root block is of another batch")
        if [lane["claim"] for lane in shown["lanes"]] != claims:
            raise Refused("CLAIM_MISMATCH", "the root block has other claims than the chain")
        return [self._lane(lane) for lane in shown["lanes"]]

    def _lane(self, lane):
        claim = lane["claim"]
        rows = []
        for page in lane["pages"]:
            rows += read_page(self.block(page), self.gateway, claim)
            if len(rows) > claim["seqTo"] - claim["seqFrom"]:
                break
        count = claim["seqTo"] - claim["seqFrom"]
        if len(rows) < count:
            raise Refused("RECEIPT_MISSING", f"the pages have {len(rows)} receipts of {count}")
        if len(rows) > count or root_of([row["id"] for row in rows]) != claim["receipts"]:
            raise Refused("LANE_ROOT_MISMATCH", "the pages are not those that were settled")
        return rows

    def stands_in(self, receipt, settled, lanes):
        """Whether a receipt is in the batch, by its path in the lane tree and that of its claim."""
        for number_of_claim, (claim, rows) in enumerate(zip(settled["claims"], lanes)):
            ids = [row["id"] for row in rows]
            if receipt not in ids:
                continue
            index = ids.index(receipt)
            in_lane = follow(receipt, index, len(ids), path_of(ids, index))
            leaves = [claim_leaf(one) for one in settled["claims"]]
            path = path_of(leaves, number_of_claim)
            in_batch = follow(claim_leaf(claim), number_of_claim, len(leaves), path)
            return in_lane == claim["receipts"] and in_batch == settled["root"]
        return False

    # ---- judging (13.4)

    def judge(self, settled, lanes):
        """Codes of what is wrong, each with its seq or payee."""
        found, owed, is_known = [], {}, True
        for claim, rows in zip(settled["claims"], lanes):
            mode = self.chain.lane(claim["payer"], self.gateway, claim["signer"])["mode"]
            before = claim["settledFrom"]
            for index, row in enumerate(rows):
                for code in self._faults(settled, claim, index, row, before, mode):
                    found.append((code, row["receipt"]["seq"]))
                before = row["receipt"]["cumulative"]
                is_known = self._add_shares(settled, row, owed) and is_known
            if before != claim["settledTo"]:
                found.append(("CUMULATIVE_BREAK", claim["seqTo"]))
        paid = settled["paid"]
        for payee in {*owed, *paid} if is_known else ():
            due, got = owed.get(payee, 0), paid.get(payee, 0)
            if due != got:
                found.append(("PAYOUT_SHORT" if got < due else "PAYOUT_OVER", payee))
        return found

    def _faults(self, settled, claim, index, row, before, mode):
        receipt, call, execution = row["receipt"], row["call"], row["execution"]
        group = row["group"]
        lane = (claim["payer"], self.gateway, claim["signer"])
        price = receipt["price"]
        if receipt["seq"] != claim["seqFrom"] + 1 + index:
            yield "RECEIPT_MISPLACED"
        if (receipt["payer"], receipt["gateway"], receipt["signer"]) != lane:
            yield "RECEIPT_OF_OTHER_LANE"
        if receipt["cumulative"] != before + price:
            yield "CUMULATIVE_BREAK"
        if follow(row["id"], group["index"], group["count"], group["path"]) != group["root"]:
            yield "GROUP_PATH_INVALID"
        key = self.keys.get(self._group_signer(group))
        if key is None or key["from"] > settled["timestamp"]:
            yield "GROUP_SIGNATURE_INVALID"
        elif key["until"] is not None and execution["finishedAtSec"] > key["until"]:
            yield "GROUP_SIGNATURE_INVALID"
        terms = self.chain.price_terms(call["functionVersion"])
        if terms is None:
            yield "VERSION_UNKNOWN"
        elif price > m.price_of(execution, terms):
            yield "PRICE_ABOVE_TARIFF"
        if price > 0:
            yield from self._call_faults(row, lane, mode)
        yield from self._draw_faults(row, mode)

    def _group_signer(self, group):
        name = (group["root"], group["count"], group["signature"])
        if name not in self._signers:
            message = {"gateway": self.gateway, "root": group["root"], "count": group["count"]}
            digest = m.typed_digest(self.domain, "ReceiptGroup", message)
            self._signers[name] = recover(digest, group["signature"])
        return self._signers[name]

    def _call_faults(self, row, lane, mode):
        receipt, call, execution = row["receipt"], row["call"], row["execution"]
        if receipt["price"] > call["maxPrice"]:
            yield "PRICE_ABOVE_MAX"
        if execution["finishedAtSec"] > call["deadlineSec"]:
            yield "DEADLINE_PASSED"
        if execution["input"] != call["input"]:
            yield "INPUT_MISMATCH"
        if (call["payer"], call["gateway"], call["signer"]) != lane:
            yield "CALL_OF_OTHER_LANE"
        if (lane, receipt["call"]) in self._charged:
            yield "CALL_CHARGED_TWICE"
        self._charged.add((lane, receipt["call"]))
        if mode == 2:
            digest = m.digest_of(self.domain, receipt["call"])
            if recover(digest, row["callSignature"] or "0x") != lane[2]:
                yield "CALL_UNSIGNED"

    def _draw_faults(self, row, mode):
        receipt, call, execution = row["receipt"], row["call"], row["execution"]
        version, provider = self.deployments.get(execution["deployment"], (None, None))
        if version != call["functionVersion"]:
            yield "DEPLOYMENT_MISMATCH"
            return
        if provider != receipt["provider"]:
            yield "PROVIDER_MISMATCH"
        value = self.epochs.get(call["beacon"])
        if value is None:
            yield "EPOCH_UNRECORDED"
            return
        sets = self.sets.get(version, [])
        ids = next((ids for since, ids in reversed(sets) if since <= call["beacon"]), [])
        order = m.draw_order(m.draw_seed(value, call), ids)
        tried = [one["deployment"] for one in row["attempts"]]
        used = receipt["attempt"]
        drawn = order[used] if used < len(order) else None
        if drawn != execution["deployment"] or any(one not in order for one in tried):
            yield "OUT_OF_DRAW"
        elif not self._is_accounted(used, row["attempts"], [order.index(one) for one in tried]):
            yield "PLACE_UNACCOUNTED"
        newest = max((e for block, e in self.recorded if block <= receipt["atBlock"]), default=0)
        if mode == 1 and call["beacon"] < newest:
            yield "EPOCH_STALE"

    def _is_accounted(self, used, attempts, places):
        idle = [place for one, place in zip(attempts, places) if one["code"] in PASSED_OVER]
        loads = sum(one["code"] == "LOAD" for one in attempts)
        return (
            len({*places, used}) == len(places) + 1
            and set(range(used)) <= set(places)
            and all(place < used for place in idle)
            and all(
                one["ran"] == "no" and one["measuredMs"] == 0
                for one in attempts
                if one["code"] in PASSED_OVER
            )
            and (loads == 0 or (loads == 1 and len(idle) == len(attempts)))
        )

    def _add_shares(self, settled, row, owed):
        """False where the version, and so its publisher, is not known."""
        receipt, version = row["receipt"], row["call"]["functionVersion"]
        terms = self.chain.price_terms(version)
        if terms is None:
            return False
        owners = self.owners[self.chain.function_of(version)]
        owner = [one for block, one in owners if block <= receipt["atBlock"]][-1]
        fee = self._fee_at(settled["timestamp"])
        shares = m.split_price(receipt["price"], fee, terms["publisherBps"])
        of_payees = ((receipt["provider"], shares["provider"]), (owner, shares["publisher"]))
        for payee, units in of_payees:
            owed[payee] = owed.get(payee, 0) + units
        return True


def voucher_signer(domain, gateway, payee, voucher):
    """Who signed a payout voucher (section 14)."""
    payout = {"gateway": gateway, "payee": payee, "cumulative": voucher["cumulativeUnits"]}
    return recover(m.typed_digest(domain, "Payout", payout), voucher["signature"])
