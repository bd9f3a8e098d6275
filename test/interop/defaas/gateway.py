"""One gateway over HTTP: its document, sign-in, DPoP, requests with a token (sections 5, 6, 16)."""
import datetime
import http.client
import json
import secrets
import time
import urllib.parse

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from .primitives import address_of, base64url, checksummed, sha256, sign_text

TIMEOUT_SEC = 60
MESSAGE_LIFE_SEC = 240
CONTRACTS = ("registry", "identity", "billing", "disputes", "beacon")
EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
SIWE = "urn:defaas:params:oauth:token-type:siwe"
ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


class Problem(Exception):
    """A problem document, or a reply that is none (`code` is GATEWAY_PROTOCOL then)."""

    def __init__(self, status, body):
        try:
            self.members = json.loads(body)
            self.code = self.members["code"]
        except (ValueError, KeyError, TypeError):
            self.members, self.code = {}, "GATEWAY_PROTOCOL"
        super().__init__(f"{status} {self.code}: {self.members.get('detail', body[:200])}")


class Reply:
    def __init__(self, status, headers, body):
        self.status, self.body = status, body
        self.headers = {name.lower(): value for name, value in headers}

    def json(self):
        return json.loads(self.body)


class DpopKey:
    """A fresh P-256 key, and proofs of it (6.3)."""

    def __init__(self):
        self._key = ec.generate_private_key(ec.SECP256R1())
        self.jwk = jwk_of(self._key)

    def prove(self, method, url, token=None):
        claims = {
            "jti": secrets.token_urlsafe(16),
            "htm": method,
            "htu": url.split("?", 1)[0],
            "iat": int(time.time()),
        }
        if token is not None:
            claims["ath"] = base64url(sha256(token.encode()))
        return sign_jwt(self._key, {"typ": "dpop+jwt", "alg": "ES256", "jwk": self.jwk}, claims)


class Gateway:
    """`origin` without a path; `chain` is the user's own. The checks of section 5 come first."""

    def __init__(self, origin, chain, account):
        self.origin = origin
        self._host = urllib.parse.urlsplit(origin)
        document = self.request("GET", "/.well-known/defaas").json()
        said = document["contracts"]
        expected = {name: chain.contracts[name] for name in (*CONTRACTS, "token")}
        if document["chainId"] != chain.chain_id or any(said[n] != a for n, a in expected.items()):
            raise RuntimeError("DEPLOYMENT_MISMATCH: the gateway names another chain or contracts")
        if int(chain.rpc("eth_chainId"), 16) != chain.chain_id:
            raise RuntimeError("CHAIN_MISMATCH: the RPC is of another chain")
        if document["gateway"] != account or not chain.is_gateway(account):
            raise RuntimeError("DEPLOYMENT_MISMATCH: the gateway is another account")
        self.document, self.account = document, account

    def send(self, method, target, headers=None, body=None):
        """Any status is an answer."""
        connection = http.client.HTTPConnection(
            self._host.hostname, self._host.port, timeout=TIMEOUT_SEC
        )
        try:
            connection.request(method, target, body, headers or {})
            reply = connection.getresponse()
            return Reply(reply.status, reply.getheaders(), reply.read())
        finally:
            connection.close()

    def request(self, method, target, headers=None, body=None):
        """Only 2xx is an answer. Raises Problem."""
        reply = self.send(method, target, headers, body)
        if 200 <= reply.status < 300:
            return reply
        raise Problem(reply.status, reply.body.decode(errors="replace"))

    def token(self, form, dpop=None):
        headers = {"content-type": "application/x-www-form-urlencoded"}
        if dpop is not None:
            headers["dpop"] = dpop.prove("POST", f"{self.origin}/oauth/token")
        body = urllib.parse.urlencode(form).encode()
        answer = self.request("POST", "/oauth/token", headers, body).json()
        bound = dpop if answer["token_type"] == "DPoP" else None
        return Token(self, answer["access_token"], bound)

    def sign_in(self, private_key, lane=None, dpop=None):
        """A token for the account of the key; it may spend from `lane`, (payer, signer)."""
        nonce = self.request("POST", "/oauth/nonce").json()["nonce"]
        issued_at = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.000Z")
        message = sign_in_message(
            origin=self.origin,
            chain_id=self.document["chainId"],
            gateway=self.account,
            address=address_of(private_key),
            nonce=nonce,
            issued_at=issued_at,
            lane=None if lane is None else {"payer": lane[0], "signer": lane[1]},
        )
        signed = {"message": message, "signature": sign_text(private_key, message)}
        form = {
            "grant_type": EXCHANGE,
            "subject_token_type": SIWE,
            "subject_token": base64url(json.dumps(signed).encode()),
        }
        return self.token(form, dpop)

    def service_token(self, client_id, key, dpop=None):
        """A token of a service account (6.4); `key` is its P-256 key."""
        now = int(time.time())
        claims = {
            "iss": client_id,
            "sub": client_id,
            "aud": self.origin,
            "iat": now,
            "exp": now + 60,
            "jti": secrets.token_urlsafe(16),
        }
        form = {
            "grant_type": "client_credentials",
            "client_assertion_type": ASSERTION,
            "client_assertion": sign_jwt(key, {"typ": "JWT", "alg": "ES256"}, claims),
        }
        return self.token(form, dpop)


class Token:
    """An access token and the requests that go with it."""

    def __init__(self, gateway, text, dpop):
        self.gateway, self.text, self.dpop = gateway, text, dpop

    def headers(self, method, target):
        if self.dpop is None:
            return {"authorization": f"Bearer {self.text}"}
        proof = self.dpop.prove(method, self.gateway.origin + target, self.text)
        return {"authorization": f"DPoP {self.text}", "dpop": proof}

    def send(self, method, target, headers=None, body=None):
        own = self.headers(method, target)
        return self.gateway.send(method, target, {**(headers or {}), **own}, body)

    def request(self, method, target, headers=None, body=None):
        own = self.headers(method, target)
        return self.gateway.request(method, target, {**(headers or {}), **own}, body)

    def put_json(self, target, value):
        headers = {"content-type": "application/json"}
        return self.request("PUT", target, headers, json.dumps(value).encode())


def sign_in_message(*, origin, chain_id, gateway, address, nonce, issued_at, lane):
    """The ERC-4361 message (6.1), good for 240 s. `issued_at`: RFC 3339, UTC, milliseconds."""
    start = datetime.datetime.strptime(issued_at, "%Y-%m-%dT%H:%M:%S.%fZ")
    end = start + datetime.timedelta(seconds=MESSAGE_LIFE_SEC)
    lines = [
        f"{urllib.parse.urlsplit(origin).netloc} wants you to sign in with your Ethereum account:",
        checksummed(address),
        "",
        "",
        f"URI: {origin}",
        "Version: 1",
        f"Chain ID: {chain_id}",
        f"Nonce: {nonce}",
        f"Issued At: {issued_at}",
        f"Expiration Time: {end.strftime('%Y-%m-%dT%H:%M:%S')}.{end.microsecond // 1000:03}Z",
    ]
    if lane is not None:
        resource = f"urn:defaas:lane:{lane['payer']}:{gateway}:{lane['signer']}"
        lines += ["Resources:", f"- {resource}"]
    return "\n".join(lines)


def jwk_of(key):
    """The public P-256 key as a JWK."""
    numbers = key.public_key().public_numbers()
    x, y = (base64url(value.to_bytes(32, "big")) for value in (numbers.x, numbers.y))
    return {"kty": "EC", "crv": "P-256", "x": x, "y": y}


def thumbprint_of(jwk):
    """RFC 7638, base64url."""
    members = {name: jwk[name] for name in ("crv", "kty", "x", "y") if name in jwk}
    return base64url(sha256(json.dumps(members, separators=(",", ":")).encode()))


def sign_jwt(key, header, claims):
    """A compact JWS by ES256."""
    parts = [base64url(json.dumps(one).encode()) for one in (header, claims)]
    signed = ".".join(parts)
    r, s = decode_dss_signature(key.sign(signed.encode(), ec.ECDSA(hashes.SHA256())))
    return f"{signed}.{base64url(r.to_bytes(32, 'big') + s.to_bytes(32, 'big'))}"
