//! The plan that `earnest init` writes: complete, valid, and commented for a treasurer who has never seen one.

use super::Time;
use super::instant::{self, DAY_SECS};

/// A plan to start from. Its dates are counted from `now`: the first round opens a month later.
pub fn template(offering_name: &str, now: Time) -> String {
    let today = now / DAY_SECS * DAY_SECS;
    let day = |days: u64| instant::show(today + days * DAY_SECS);
    TEMPLATE
        .replace("@NAME@", &quoted(offering_name))
        .replace("@OPEN_1@", &day(30))
        .replace("@CLOSE_1@", &day(60))
        .replace("@OPEN_2@", &day(75))
        .replace("@CLOSE_2@", &day(89))
        .replace("@SOFT_CAP@", &day(150))
        .replace("@DEADLINE@", &day(730))
}

/// A TOML string.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.trim().chars().filter(|c| !c.is_control()) {
        if matches!(c, '"' | '\\') {
            quoted.push('\\');
        }
        quoted.push(c);
    }
    // A name is never blank.
    if quoted.len() == 1 {
        quoted.push_str("Unnamed offering");
    }
    quoted.push('"');
    quoted
}

const TEMPLATE: &str = r#"# The plan of an offering: everything is said here, once.
#
# Amounts are quoted decimals with their unit: "10_000 cash", "5_000 credits", "0.25 cash per credit", "7.5%",
# "14 days". Counts are bare whole numbers. Dates carry their offset: 2026-09-01T00:00:00Z.
# A key that is not known is refused, so a typing error is never ignored.
#
# `earnest check` checks it, `earnest check --explain` says it in plain words.

schema = 1 # the version of this format

[offering]
name = @NAME@
issuer = "Example Lab, Inc." # legal name of the lab
note = "an example: nothing is offered"
# The most all rounds together may take. It must cover what each round can take at most, at its highest price.
hard_cap = "7_500_000 cash"
# Less than this by that date, and all of every bid goes back. Leave both out for no soft cap.
soft_cap = "1_000_000 cash"
soft_cap_date = @SOFT_CAP@
# For how long in all the guardian may pause the bidding of one round; its close moves by as much.
pause_limit = "7 days"

# Terms and documents are hashed, and every permit and bid signs to the hash: change a word here and what was
# signed before no longer counts. Nothing else in this file does that.
[terms]
title = "Credit purchase agreement"
governing_law = "Delaware"
position = """
A position is the right to credits that vest once the service is live. It cannot be transferred. If the service \
is not live by the deadline, the cash that is left goes back."""
credit = "A credit pays for service at the published price list, for as long as the service runs."
# Every public promise made before or at the sale, word for word. Each is tracked until it is kept.
promises = [
  "Prices never rise without 30 days' notice.",
  "A model that meets the published benchmark is always offered at or below the covenant's price.",
]

# At least a purchase agreement and a risk disclosure, each by the hash that `sha256sum FILE` prints. These are
# hashes of an empty file. With `file`, the hash of what lies there is checked.
[[documents]]
name = "Credit purchase agreement"
kind = "purchase-agreement" # or risk-disclosure, white-paper, other
sha256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
# file = "agreement.pdf"

[[documents]]
name = "Risk disclosure"
kind = "risk-disclosure"
sha256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

# The coin that is raised: an ERC-20 with 6 decimals. Without an address a test coin is deployed, on a
# development chain only.
[cash]
name = "USD Coin"
symbol = "USDC"
# address = "0xa0b86991c6218b36c1d19d4a2e9eb0ce3606eb48"

# The coin that is delivered. It is deployed with the offering.
[credits]
name = "Example Credit"
symbol = "XCR"

# Who holds which key. A role left out gets a development key, on a development chain only.
[roles]
# issuer = "0x…"      # draws the tap, rotates attesters
# attesters = ["0x…"] # sign purchase permits after checking identities
# certifier = "0x…"   # attests milestones and that the service is live; never the issuer
# guardian = "0x…"    # may object and pause for a while; can take nothing
# gateway = "0x…"     # claims what was spent and publishes statements; if not named, the issuer on a real chain

[service]
deadline = @DEADLINE@ # live by then, or the cash that is left goes back
notice = "7 days" # between an attestation and its effect: time for the guardian to object
objections = 1 # how often the guardian may object to one attestation, at most 3
capacity = "100_000 credits per day" # service that can be served in a day once live

# How a position turns into credits after the service is live, by the buyer's choice. A slower schedule may earn
# a discount: a bid of 90 at 10% counts like one of 100.
[[schedules]]
name = "standard"
discount = "0%"
vesting = "linear" # a straight line from live to each point; or "steps"
points = [["180 days", "100%"]] # up to five: time after live, part vested by then; the last at 100%

[[schedules]]
name = "patient"
discount = "10%"
vesting = "steps"
points = [["365 days", "50%"], ["730 days", "100%"]]

# Under which rules people buy, as counsel sees it. The numbers are compared with the rule's and differences are
# told; that is never legal advice.
[[regimes]]
name = "us-accredited"
rule = "us-506c" # us-506b, us-506c, us-reg-s, us-reg-a2, us-reg-cf, us-service-credit, eu-mica-exempt,
#                  eu-mica-whitepaper, uk, sg, unlisted
lock = "365 days" # credits of such a position are not resold before; they may be spent at once
max_buyers = 1_500
jurisdictions = ["US"] # where its buyers live (ISO 3166-1); none: anywhere no other regime names
demand = "60%" # for demos and simulations only: part of the demand that comes under this regime

[[regimes]]
name = "offshore"
rule = "us-reg-s"
lock = "365 days"
max_buyers = 400
max_non_accredited = 400
# max_raise = "… cash"      # most raised under this regime
max_entity = "250_000 cash" # most cash of one buyer over all rounds
# cooling_off = "14 days"   # buyers may withdraw a bid for so long
# wait = "24 hours"         # between approval and the first bid
demand = "40%"

# The rounds, in the order in which they open: at most eight.
[[rounds]]
name = "early"
kind = "fixed" # one price for all; "private" is the same without general solicitation
open = @OPEN_1@
close = @CLOSE_1@
min_bid = "1_000 cash"
max_bid = "500_000 cash" # most cash of one buyer in this round
schedules = ["standard", "patient"] # which of the above a buyer may pick here
regimes = ["us-accredited", "offshore"]
supply = "10_000_000 credits"
price = "0.25 cash per credit"
allocation = "pro-rata" # all bids are cut alike when there are too many; or "first-come"

[[rounds]]
name = "public"
kind = "auction" # one price for all who bid at or above it
open = @OPEN_2@
close = @CLOSE_2@
min_bid = "500 cash"
schedules = ["standard"]
regimes = ["us-accredited", "offshore"]
supply = "10_000_000 credits"
floor_price = "0.3 cash per credit" # the lowest limit a bid may have
tick = "0.005 cash per credit" # limits stand this far apart
ticks = 41 # so the highest limit is 0.30 + 40 × 0.005 = 0.50

# A third kind of round lets the price rise along a curve, one price for each window of time:
#   kind = "rising"
#   window = "1 day"
#   window_cap = "500_000 cash" # more than this in one window is returned, to all alike
#   cap = "2_000_000 cash"
#   knots = 128 # how finely the curve is cut
#   curve = { kind = "exponential", first_price = "0.5 cash per credit", e_fold = "10_000_000 credits" }

# The cash is held in a treasury. The tap releases it by the second, never beyond a ceiling.
[treasury]
tap = "15_000 cash per day" # rounded down to whole units (0.000001) a second
# tap_start = …             # when the tap starts before the service is live; left out: once it is live
# ceiling_at_start = "…"    # what it may release before anything is attested
ceiling_at_live = "3_000_000 cash" # what it may have released in all once the service is live

# Milestones raise the ceiling; they pay nothing by themselves. The highest ceiling must reach the hard cap.
[[treasury.milestones]]
name = "scale"
statement = "The service has answered 1,000,000 paid requests within its published latency."
ceiling = "7_500_000 cash"
before_live = false

# Votes of backers about the treasury. Leave the table out and this deployment has none, ever.
[votes]
threshold = "10%" # of the weight must ask for a vote
quorum = "25%" # of the weight must vote
majority = "66.67%" # of the weight cast must agree
voting = "7 days"
cooldown = "30 days" # between two votes
exit = "14 days" # anyone may leave on the old terms before a change takes effect

[price_list]
notice = "30 days" # before any price rises
cash = "1 cash per credit" # what service costs in cash; left out, it is sold for credits only

[[price_list.models]]
name = "example-small" # as requests name it
input = "0.5 credits per million" # model tokens read
cached = "0.1 credits per million" # model tokens read from cache
output = "2 credits per million" # model tokens written
# embedding = "… credits per million", image = "… credits per image",
# audio_second = "… credits per second", compute_second = "… credits per second"

# A promise about quality: some model that meets the benchmark is always offered at or below this price.
[price_list.covenant]
tier = "small"
benchmark = "MMLU-Pro, 60%"
output = "3 credits per million"
# model = "example-small" # which of the above meets it; left out, the cheapest by output

# Independent providers of compute. Leave the table out if the lab serves alone.
[providers]
share = "80%" # of what is settled goes to the provider; the rest is burned
held_back = "20%" # of a provider's pay, until its quality is known
min_stake = "10_000 credits"
thawing = "21 days" # how long taking a stake out takes
cold_start = "100_000 credits" # may be paid out before anything was burned
epoch = "1 day" # one scoring period
"#;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Plan;

    #[test]
    fn the_template_is_a_valid_plan_under_any_name_at_any_time() {
        for name in ["Example offering", "A \"quoted\" \\ name\n", "", "Öffnung"] {
            for now in [0, 1_517_184_000, 1_782_822_896, 3_000_000_000] {
                let text = template(name, now);
                let (plan, _) = Plan::read("plan.toml", &text).unwrap_or_else(|faults| panic!("{faults}"));
                assert!(!plan.offering.name.is_empty());
            }
        }
    }
}
