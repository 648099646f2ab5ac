#!/bin/sh
# A backer with foundry's cast: reads the chain, approves, bids, settles.
#
#   cast.sh URL FOLDER PERMIT KEY [CAST]
#
# URL of a node, the folder that `earnest deploy` or `earnest up` made, a file of `earnest permit sign` for a wallet with
# play money, a file with that wallet's key, and the cast to use.
set -eu
export ETH_RPC_URL="$1"
folder=$2 permit=$3 key=$(cat "$4") cast=${5:-cast}

# A field of a JSON file: one a line, as earnest writes them.
field() { sed -n "s/^ *\"$2\": \"\{0,1\}\([^\",]*\)\"\{0,1\},\{0,1\}\$/\1/p" "$1" | head -n 1; }
offering=$(field "$folder/deployment.json" offering)
cash=$(field "$folder/deployment.json" cash)
of() { field "$permit" "$1"; }
wallet=$("$cast" wallet address --private-key "$key")
amount=1000000000
send() { "$cast" send --private-key "$key" "$@" >/dev/null; }

"$cast" chain-id >/dev/null
"$cast" block latest >/dev/null
test "$("$cast" balance "$wallet")" != 0
test "$("$cast" call "$cash" 'balanceOf(address)(uint256)' "$wallet" | cut -d' ' -f1)" -ge $amount

send "$cash" 'approve(address,uint256)' "$offering" $amount
tuple="($(of entity),$(of wallet),$(of round),$(of min_cash),$(of max_cash),$(of max_total),$(of first),$(of last),$(of not_before),$(of expiry),$(of jurisdiction),$(of lock_class),$(of affiliate),$(of cooling_off),$(of generation),$(of terms_hash))"
types='(uint256,address,uint256,uint256,uint256,uint256,uint256,uint256,uint256,uint256,uint256,uint256,bool,bool,uint256,bytes32)'
send "$offering" "bid(uint256,uint256,uint256,$types,bytes)" $amount 0 0 "$tuple" "$(of signature)"
"$cast" logs --from-block 0 --address "$offering" 'BidPlaced(uint88 indexed,uint256,uint256)' | grep -q transactionHash

# Too early: the contract's error comes through.
if "$cast" call "$offering" 'clear(uint256,uint256)' "$(of round)" 400 2>/dev/null; then exit 1; fi

"$cast" rpc evm_increaseTime 1728000 >/dev/null
"$cast" rpc evm_mine >/dev/null
send "$offering" 'clear(uint256,uint256)' "$(of round)" 400
test "$(of round)" = 0 # the bid's number is its entity, then
send "$offering" 'settle(uint88)' "$(of entity)"
paid=$("$cast" call "$offering" 'getPosition(uint88)((uint96,uint96,uint64))' "$(of entity)")
echo "{\"client\":\"cast\",\"position\":\"$paid\"}"
