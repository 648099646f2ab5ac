use crate::stage::cleared;
#[test]
fn look() {
    let stage = cleared(300);
    println!("{}", stage.text(80));
    println!("{}", stage.text(60));
    println!("{}", stage.position(stage.bids(0)[0]));
    println!("{}", stage.position(stage.bids(1)[0]));
}
