use crate::stage::*;
use earnest_core::raise::Call;
#[test]
fn look() {
    let mut stage = cleared(10_000);
    std::fs::write("/tmp/x/cleared.html", stage.html()).unwrap();
    stage.now += 86_400 * 300;
    stage.live();
    stage.attest(1);
    stage.now += 86_400 * 400;
    for id in stage.bids(2).into_iter().chain(stage.bids(1).into_iter().take(5000)) {
        if stage.raise.offering.positions.contains_key(&id) {
        stage.apply(wallet(id.entity), Call::Deliver { id }); }
    }
    stage.apply(ISSUER, Call::Draw { cash: 1_500_000_000_000_000, to: ISSUER });
    std::fs::write("/tmp/x/live.html", stage.html()).unwrap();
    println!("{}", stage.text(80));
    let mut open = Stage::openai();
    std::fs::write("/tmp/x/before.html", open.html()).unwrap();
    open.open(1);
    auction_bids(&mut open, 200);
    std::fs::write("/tmp/x/open.html", open.html()).unwrap();
}
