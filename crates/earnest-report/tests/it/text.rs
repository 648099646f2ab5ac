use earnest_core::bid::BidId;
use earnest_core::raise::Call;

use crate::stage::{DAY, ISSUER, Stage, Terms, auction_bids, cleared, wallet};

#[test]
fn before_the_first_round() {
    let mut stage = Stage::openai();
    stage.now -= 3 * DAY;
    insta::assert_snapshot!(stage.text(80));
}

#[test]
fn an_open_auction_shows_where_it_would_clear() {
    let mut stage = Stage::openai();
    stage.open(1);
    auction_bids(&mut stage, 200);
    insta::assert_snapshot!(stage.text(80));
}

#[test]
fn all_rounds_cleared() {
    insta::assert_snapshot!(cleared(300).text(80));
}

#[test]
fn all_rounds_cleared_in_a_narrow_terminal() {
    insta::assert_snapshot!(cleared(300).text(60));
}

#[test]
fn live_delivered_and_drawn() {
    insta::assert_snapshot!(live().text(80));
}

#[test]
fn a_missed_soft_cap() {
    let mut stage = Stage::small();
    let id = stage.bid(0, 1, 40_000, Terms::default());
    stage.clear(0);
    stage.now = stage.plan.offering.soft_cap_date.unwrap();
    insta::assert_snapshot!(stage.text(80) + "\n" + &stage.position(id));
}

#[test]
fn a_rising_round_whose_predecessor_is_not_cleared() {
    let mut stage = Stage::openai();
    stage.open(2);
    stage.bid(2, 1, 1_000_000, Terms::default());
    stage.now += 2 * DAY;
    stage.bid(2, 2, 3_000_000, Terms::default());
    insta::assert_snapshot!(stage.text(80));
}

#[test]
fn no_line_is_wider_than_asked() {
    for stage in [cleared(300), live(), Stage::openai(), Stage::small()] {
        for width in [60, 72, 80, 100, 160] {
            for line in stage.text(width).lines() {
                assert!(line.chars().count() <= width, "{width}: {line}");
            }
        }
    }
}

#[test]
fn positions_at_every_stage() {
    let stage = cleared(300);
    let mut text = stage.position(stage.bids(0)[0]);
    let lost = stage.bids(1).into_iter().find(|&id| stage.raise.offering.bid(id).cash == 0).unwrap();
    text += "\n";
    text += &stage.position(lost);
    let live = live();
    for id in [live.bids(0)[0], live.bids(1)[1], live.bids(2)[4]] {
        text += "\n";
        text += &live.position(id);
    }
    insta::assert_snapshot!(text);
}

#[test]
fn positions_that_never_were_or_are_not_yet() {
    let mut stage = Stage::small();
    let id = stage.bid(0, 7, 40_000, Terms { schedule: 1, affiliate: true, ..Terms::default() });
    let mut text = stage.position(id);
    for id in [BidId { round: 9, ..id }, BidId { entity: 8, ..id }, id.total()] {
        text += "\n";
        text += &stage.position(id);
    }
    insta::assert_snapshot!(text);
}

#[test]
fn a_position_past_the_deadline_takes_its_cash_back() {
    let mut stage = cleared(50);
    let id = stage.bids(0)[0];
    stage.now = stage.plan.service.deadline;
    let before = stage.position(id);
    stage.apply(ISSUER, Call::PotRefund { id });
    insta::assert_snapshot!(before + "\n" + &stage.position(id));
}

/// A year and a month after the service went live.
fn live() -> Stage {
    let mut stage = cleared(300);
    stage.now += 300 * DAY;
    stage.live();
    stage.attest(1);
    stage.now += 200 * DAY;
    for id in stage.bids(1).into_iter().take(150) {
        if stage.raise.offering.positions.contains_key(&id) {
            stage.apply(wallet(id.entity), Call::Deliver { id });
        }
    }
    let cash = stage.summary().treasury.available.units() / 2;
    stage.apply(ISSUER, Call::Draw { cash, to: ISSUER });
    stage.now += 195 * DAY;
    stage
}
