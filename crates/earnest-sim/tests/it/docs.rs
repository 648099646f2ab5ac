//! The reference says all there is.

use earnest_sim::factor::Factor;
use earnest_sim::outcome::Metric;

#[test]
fn the_reference_names_every_factor_and_every_metric() {
    let page = std::fs::read_to_string(crate::study::examples().join("../docs/study.md")).unwrap();
    let keys = Factor::ALL.map(|factor| factor.meaning().key);
    for key in keys.into_iter().chain(Metric::ALL.map(|metric| metric.meaning().key)) {
        assert!(page.contains(&format!("`{key}`")), "docs/study.md does not say what `{key}` is");
    }
}
