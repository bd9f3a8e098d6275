#!/bin/sh
# From the URL of a function to a paid call with a verified receipt, with curl, jq and a key tool alone:
# what a friend does who was sent a link and follows what it answers. Knows no URL but the given one.
# ETH_KEY is the friend's key, ETH_RPC_URL its own way to the chain, KEY_TOOL the key tool.
set -eu
url=$1
key() { $KEY_TOOL "$@"; }
fail() { echo "friend: $*" >&2; exit 1; }

# The first answer says what is missing, and where the rest is written.
refusal=$(curl -sS -D headers "$url")
[ "$(echo "$refusal" | jq -r .status)" = 401 ] || fail "not a 401: $refusal"
described=$(echo "$refusal" | jq -r .describedBy)
grep -qi "^link: <$described>; rel=\"describedby\"" headers || fail "no Link to $described"
origin=$(echo "$url" | sed 's,^\([^/]*//[^/]*\)/.*,\1,')
curl -sS "$origin$described" >about.json
[ "$(jq -r .freeForCallers about.json)" = false ] || fail 'it is free'
step() { jq ".steps[] | select(.step == \"$1\")" about.json; }

Account=$(key address)
account=$(echo "$Account" | tr A-F a-f)
units=$(jq -r '.price.mostUnits | tonumber * 10' about.json)
later=$(($(date +%s) + 30 * 86400))
fill() {
  jq --arg account "$account" --arg units "$units" --arg later "$later" 'walk(if type == "string" then
    gsub("<account>"; $account) | gsub("<units>"; $units) | gsub("<Unix seconds[^>]*>"; $later) else . end)'
}

# 1 Money: the transactions that the description lists.
step deposit | fill | jq -c '.transactions[]' | while read -r tx; do
  echo "$tx" | jq -r '[.to, .function] + .args | @sh' | (
    read -r words
    eval "set -- $words"
    key send "$ETH_RPC_URL" "$@" >/dev/null
  )
done

# 2 A voucher over what the gateway may take in all.
voucher=$(step voucher | fill | jq .typedData | key sign-typed)

# 3 A token.
nonce=$(curl -sS -X POST "$(step sign-in | jq -r .nonce.url)" | jq -r .nonce)
now=$(date -u +%Y-%m-%dT%H:%M:%SZ)
end=$(date -u -d '+4 minutes' +%Y-%m-%dT%H:%M:%SZ)
step sign-in | fill | jq -j --arg Account "$Account" --arg nonce "$nonce" --arg now "$now" --arg until "$end" '.message
  | gsub("<Account>"; $Account) | gsub("<nonce>"; $nonce)
  | gsub("<now, RFC 3339>"; $now) | gsub("<now and 4 minutes, RFC 3339>"; $until)' >message.txt
signature=$(key sign <message.txt)
subject=$(jq -Rsc --arg signature "$signature" '{message: ., signature: $signature}' message.txt | base64 -w0 | tr '+/' '-_' | tr -d =)
form=$(step sign-in | jq -r --arg subject "$subject" '.token.form | .subject_token = $subject
  | to_entries | map("\(.key)=\(.value | @uri)") | join("&")')
token=$(curl -sS "$(step sign-in | jq -r .token.url)" -d "$form" | jq -r .access_token)
[ "$token" != null ] || fail 'no token'

# 4 The call.
status=$(curl -sS "$url" -D headers -o answer -w '%{http_code}' \
  -H "authorization: Bearer $token" -H "defaas-voucher: $units:$voucher" \
  -H "defaas-max-price: $(step call | jq -r '.headers["defaas-max-price"]')" \
  -H "defaas-nonce: 0x$(od -An -tx1 -N32 /dev/urandom | tr -d ' \n')")
[ "$status" = 200 ] || fail "$status: $(cat answer)"
id=$(tr -d '\r' <headers | sed -n 's/^defaas-receipt: //Ip')

# 5 The receipt: its id is the hash of its fields, and a key of the gateway has signed its group.
curl -sS "$(step receipt | jq -r .url | sed "s/<Defaas-Receipt>/$id/")" >receipt.json
hash=$(jq -c .receipt receipt.json | key hash-struct "$(step receipt | jq -r .receiptType)")
[ "$hash" = "$id" ] || fail "the receipt is $hash, not $id"
[ "$(jq -r '.group.count' receipt.json)" = 1 ] || fail 'others were served at the same time'
[ "$(jq -r .group.root receipt.json)" = "$id" ] || fail 'the group is of other receipts'
signed=$(step receipt | jq --slurpfile receipt receipt.json '.typedData
  | .message.root = $receipt[0].group.root | .message.count = $receipt[0].group.count' |
  key recover-typed "$(jq -r .group.signature receipt.json)")
step receipt | jq -e --arg signed "$signed" '.keys | index($signed)' >/dev/null || fail "$signed is no key of the gateway"
jq -e --slurpfile about about.json '(.receipt.price | tonumber) <= ($about[0].price.mostUnits | tonumber)' receipt.json >/dev/null ||
  fail 'it costs more than was said'

jq -c --rawfile answer answer '{answer: $answer, price: .receipt.price, seq: .receipt.seq}' receipt.json
