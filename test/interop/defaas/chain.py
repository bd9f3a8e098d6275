"""What is asked of the chain by JSON-RPC: views of the contracts and logs (sections 2, 4, 18)."""
import itertools
import json
import re
import urllib.request

from .messages import function_id, function_version
from .primitives import from_hex, keccak256, to_hex, word

TIMEOUT_SEC = 30
ADDRESS = re.compile(r"^0x[0-9a-f]{40}$")
TERMS = ("perCall", "perGiBSecond", "maxPrice", "minBilledMs", "roundMs", "publisherBps")


class Chain:
    """`contracts` are those that the user believes; `rpc_url` is the user's own."""

    def __init__(self, rpc_url, chain_id, contracts, from_block):
        self.rpc_url, self.chain_id = rpc_url, chain_id
        self.contracts, self.from_block = contracts, from_block
        self._ids = itertools.count(1)
        self._terms = {}

    def rpc(self, method, *params):
        body = {"jsonrpc": "2.0", "id": next(self._ids), "method": method, "params": list(params)}
        request = urllib.request.Request(
            self.rpc_url, json.dumps(body).encode(), {"content-type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=TIMEOUT_SEC) as reply:
            answer = json.load(reply)
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error'].get('message')}")
        return answer["result"]

    def call(self, contract, signature, *arguments):
        """The words of the result, as bytes of 32 each."""
        kinds = [one for one in signature[signature.index("(") + 1 : -1].split(",") if one]
        heads, tails = [], b""
        for kind, value in zip(kinds, arguments):
            if kind == "string":
                text = value.encode()
                heads.append(word(32 * len(kinds) + len(tails)))
                tails += word(len(text)) + text.ljust(-(-len(text) // 32) * 32, b"\0")
            else:
                heads.append(word(value))
        data = keccak256(signature.encode())[:4] + b"".join(heads) + tails
        return self.ask(contract, to_hex(data))

    def ask(self, contract, data):
        """The same of a call that is encoded already."""
        to = self.contracts[contract]
        return words_of(self.rpc("eth_call", {"to": to, "data": data}, "latest"))

    def logs(self, contract, signature, *topics):
        """In order; each with `topics` and `data` as words, and where it stands."""
        query = {
            "address": self.contracts[contract],
            "topics": [to_hex(keccak256(signature.encode())), *topics],
            "fromBlock": hex(self.from_block),
            "toBlock": "latest",
        }
        return [
            {
                "topics": [from_hex(topic) for topic in log["topics"]],
                "data": words_of(log["data"]),
                "tx": log["transactionHash"],
                "block": int(log["blockNumber"], 16),
                "index": int(log["logIndex"], 16),
            }
            for log in self.rpc("eth_getLogs", query)
        ]

    def timestamp(self, block):
        return int(self.rpc("eth_getBlockByNumber", hex(block), False)["timestamp"], 16)

    # ---- views

    def is_gateway(self, account):
        return number(self.call("identity", "partyOf(address)", account)[0]) & 1 == 1

    def is_key_in_force(self, key, party):
        signature = "isKeyInForce(address,address,uint8)"
        return number(self.call("identity", signature, key, party, 1)[0]) == 1

    def lane(self, payer, gateway, signer):
        names = ("settled", "cap", "seq", "expirySec", "mode")
        words = self.call("billing", "laneOf(address,address,address)", payer, gateway, signer)
        return dict(zip(names, map(number, words)))

    def batch_word(self, gateway, batch):
        return to_hex(self.call("billing", "rootOf(address,uint256)", gateway, batch)[0])

    def function(self, name):
        """functionId and functionVersion of `owner/name[@reference]`."""
        named, _, reference = name.partition("@")
        owner, _, own = named.partition("/")
        if not ADDRESS.match(owner):
            owner = address(self.call("registry", "namespaceOf(string)", owner)[0])
        function = function_id(owner, own)
        if re.fullmatch(r"\d{1,9}", reference):
            version = int(reference)
        else:
            label = reference or "latest"
            version = number(self.call("registry", "aliasOf(uint256,string)", function, label)[0])
        return function, function_version(self.contracts["registry"], function, version)

    def price_terms(self, version):
        """None of a version that was never published."""
        if version not in self._terms:
            words = self.call("registry", "priceTermsOf(bytes32)", version)
            found = dict(zip((*TERMS, "memoryMiB", "timeoutMs"), map(number, words)))
            if found["roundMs"] == 0:
                return None
            self._terms[version] = found
        return self._terms[version]

    def function_of(self, version):
        return number(self.call("registry", "versionOf(bytes32)", version)[0])


def words_of(text):
    data = from_hex(text)
    return [data[at : at + 32] for at in range(0, len(data), 32)]


def number(value):
    return int.from_bytes(value, "big")


def address(value):
    return to_hex(value[12:])
