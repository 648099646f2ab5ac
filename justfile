# The menu. Each line is a command you can also type.

# a whole raise with ten thousand made-up backers
demo *args:
    cargo run --release -- demo {{args}}

# a development chain with a plan on it, its JSON-RPC and the portal
up *args:
    cargo run --release -- up {{args}}

# everything: formatting, lints, contracts, tests, gas
test:
    cargo xtask test

# what needs only Rust
quick:
    cargo test

# compile the contracts into contracts/artifacts
contracts *args:
    cargo xtask contracts {{args}}

# gas of what backers do
gas *args:
    cargo xtask gas {{args}}

# model against contracts, so many random stories
lockstep stories="300":
    cargo xtask lockstep {{stories}}

# servers that take long to install, behind the gateway
upstreams *args:
    cargo xtask upstreams {{args}}

# speed: clearing, index, up, gateway, portal, simulate
bench *args:
    cargo xtask bench {{args}}
