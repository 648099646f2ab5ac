//! The page holds all that was answered and nothing else, whatever a stranger wrote into a study; its words agree with
//! its numbers.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::OnceLock;
use std::sync::atomic::AtomicBool;

use base64::Engine;
use parquet::file::reader::{FileReader, SerializedFileReader};
use sha2::{Digest, Sha256};

use super::*;
use crate::answers::{
    Depth, DesignAnswer, Flip, Hindcast, MetricAnswer, Pair, Score, StressAnswer, Sweep, Table, answer,
};
use crate::factor::Factor;
use crate::outcome::Metric;
use crate::prior::Grade;
use crate::run::Workers;
use crate::statistics::Summary;
use crate::study::Study;

/// A study whose every text tries to leave its place.
const HOSTILE: &str = r#"
schema = 1

[study]
name = "</title><script>alert(1)</script>"
note = "<img src=x onerror=alert(2)> & \"quoted\""
start = 2018-02-01T00:00:00Z
months = 24
paths = 130
seed = 7
judged = 18
decide_by = "mission"

[lab]
cash = "5_000_000 cash"
nonprofit = "100%"

[mission]
hours = [[0, "100_000 hours"], [23, "400_000 hours"]]
people = [[0, "200_000 cash"]]
hour = "2 cash"
enough = "80%"
reserve = 2
core = "30%"
catch_up = "50%"

[service]
live = 12
needs = "40%"
revenue = [[0, "100_000 cash"], [11, "1_000_000 cash"]]
serving = "40%"
capacity = [[0, "2_000_000 hours"]]

[world.donations]
low = 0.4
mid = 1.0
high = 3.4
shape = "lognormal"
grade = "C"
source = "<b onmouseover='alert(3)'>press</b>"

[world.equity_demand]
low = 0.2
mid = 1.0
high = 4.0
shape = "lognormal"
grade = "D"
source = "judgement"

[[designs]]
name = "=HYPERLINK(\"x\")<i>"
about = "]]><svg onload=alert(4)>"
[[designs.instruments]]
name = "<u>gift</u>, \"and\" more"
kind = "grant"
amount = [[0, "500_000 cash"]]
lead = "60%"

[[designs]]
name = "a name that is far too long to stand beside a figure on any screen of a phone & more"
[[designs.instruments]]
name = "series A"
kind = "equity"
month = 6
seek = "20_000_000 cash"
demand = "20_000_000 cash"
least = "5_000_000 cash"
pre_money = "40_000_000 cash"

[[stress]]
name = "'\"><script>alert(5)</script>"
hold = [["never_live", 1.0]]

[[maps]]
x = "donations"
y = "equity_demand"

[[outcomes]]
name = "<script>alert(6)</script>"
design = "=HYPERLINK(\"x\")<i>"
metric = "raised"
value = 12_000_000
disputed = 11_000_000
source = "<a href='javascript:alert(7)'>"
grade = "B"
"#;

fn hostile() -> &'static (Answers, Table) {
    static LIVED: OnceLock<(Answers, Table)> = OnceLock::new();
    LIVED.get_or_init(|| {
        let none = |_: &Path| Err("no plan".to_owned());
        let study = Study::read("hostile.toml", HOSTILE, &none).unwrap_or_else(|faults| panic!("{faults}"));
        let stop = AtomicBool::new(false);
        let workers = Workers { threads: 2, progress: &|_, _, _| {}, stop: &stop, kept: None };
        let Ok(lived) = answer(&study, Depth { stress: 60, sweep: 60, map: 20, sobol: 32 }, &workers) else {
            panic!("nobody stops it")
        };
        lived
    })
}

/// Answers of made-up numbers: a mean of each design by each metric, with an error of a hundredth.
fn made(names: &[&str], decide_by: Metric, mean: impl Fn(usize, Metric) -> f64) -> Answers {
    let mut answers = hostile().0.clone();
    let summary = |mean: f64| Summary {
        count: if mean.is_nan() { 0 } else { 10_000 },
        mean,
        error: 0.01,
        quantiles: [0.5, 0.8, 1.0, 1.2, 1.5].map(|times| times * mean),
    };
    let metrics = |design: usize| {
        let one = |metric: Metric| MetricAnswer {
            metric: metric.meaning().key,
            summary: summary(mean(design, metric)),
        };
        Metric::ALL.map(one).to_vec()
    };
    let design = |(design, name): (usize, &&str)| DesignAnswer {
        name: (*name).to_owned(),
        about: None,
        metrics: metrics(design),
        stakes: Vec::new(),
        course: vec![[0.0, 1.0, 2.0, 3.0, 4.0]; 25],
    };
    answers.name = "made".to_owned();
    answers.decide_by = decide_by.meaning().key;
    answers.designs = names.iter().enumerate().map(design).collect();
    answers.pairs.clear();
    for one in 0..names.len() {
        for other in one + 1..names.len() {
            answers.pairs.extend(Metric::ALL.map(|metric| {
                let by = mean(one, metric) - mean(other, metric);
                Pair {
                    one,
                    other,
                    metric: metric.meaning().key,
                    count: if by.is_nan() { 0 } else { 10_000 },
                    mean: by,
                    low: by - 0.02,
                    high: by + 0.02,
                    more: 0.25,
                    equal: 0.5,
                }
            }));
        }
    }
    (answers.regret, answers.variance, answers.maps) = (Vec::new(), Vec::new(), Vec::new());
    (answers.sweeps, answers.flips, answers.stresses, answers.hindcast) =
        (Vec::new(), Vec::new(), Vec::new(), None);
    answers
}

/// The probability of funding is the given, all else a half.
fn funded(parts: &'static [f64]) -> impl Fn(usize, Metric) -> f64 {
    |design, metric| match metric {
        Metric::Funded => parts[design],
        Metric::Cut => 0.0,
        _ => 0.5,
    }
}

/// A sweep in which the given designs come first, by a clear lead.
fn sweep(factor: &'static str, designs: usize, best: &[usize]) -> Sweep {
    let means = |&first: &usize| (0..designs).map(|design| if design == first { 0.9 } else { 0.1 }).collect();
    Sweep {
        factor,
        values: (1u32..10).map(f64::from).collect(),
        probabilities: vec![0.01, 0.05, 0.15, 0.3, 0.5, 0.7, 0.85, 0.95, 0.99],
        means: best.iter().map(means).collect(),
        errors: vec![vec![0.01; designs]; best.len()],
        best: best.to_vec(),
        sure: vec![true; best.len()],
    }
}

/// The words of a page, without its markup.
fn said(answers: &Answers) -> String {
    let page = html(answers);
    let answer = page.split("id=\"answer\"").nth(1).unwrap().split("<h2").next().unwrap().to_owned();
    let text = answer.split('<').map(|piece| piece.split_once('>').map_or(piece, |(_, text)| text));
    text.collect::<String>().replace("&#39;", "'")
}

fn assert_says(answers: &Answers, sentences: &[&str]) {
    let words = said(answers);
    for sentence in sentences {
        assert!(words.contains(sentence), "{sentence}\nnot in\n{words}");
    }
}

#[test]
fn the_words_name_the_best_and_a_second_that_is_beyond_error() {
    let answers = made(&["grants", "equity", "credits"], Metric::Funded, funded(&[0.1, 0.42, 0.31]));
    assert_says(
        &answers,
        &[
            "“equity” funds the mission most often: in 42% of the futures (41% to 43%).",
            "“credits” comes second with 31% (30% to 32%). The difference is 11 points (9 to 13 points), which is \
             beyond Monte Carlo error; in 50% of the futures the two come to the same.",
        ],
    );
    assert!(!said(&answers).contains("Nor do they"));
}

#[test]
fn the_words_do_not_tell_apart_what_error_hides() {
    let answers = made(&["a", "b", "c", "d"], Metric::Funded, funded(&[0.40, 0.41, 0.395, 0.2]));
    assert_says(
        &answers,
        &[
            "“b” funds the mission most often: in 41% of the futures",
            "“a” comes second with 40% (39% to 41%). The difference is 1 point (−1 to 3 points), which is within \
             Monte Carlo error: these futures do not tell the two apart",
            "Nor do they tell “c” apart from “b”.",
        ],
    );
}

#[test]
fn the_words_follow_the_metric_that_decides_even_where_less_is_better() {
    let mean = |design: usize, metric: Metric| match metric {
        Metric::PeakNeed => [3.0e8, 1.0e8][design],
        Metric::Funded => [0.6, 0.3][design],
        Metric::Loss => f64::NAN,
        Metric::Cut => 0.0,
        _ => 0.5,
    };
    let answers = made(&["much", "little"], Metric::PeakNeed, mean);
    assert_says(
        &answers,
        &[
            "“little” comes first by “Peak unfunded need”: it has the least on average, 100 million",
            "“much” comes second with 300 million",
            "The difference is 200 million",
            "“much” funds the mission most often: in 60% of the futures",
            "People cannot be paid at some time in 50% of the futures under every design.",
        ],
    );
    assert!(!said(&answers).contains("Backers"), "there are none");
}

#[test]
fn a_mission_that_nobody_funds_is_said_to_be_that() {
    let answers = made(&["a", "b"], Metric::Funded, funded(&[0.0, 0.0]));
    assert_says(
        &answers,
        &["No design funds the mission in any of the futures", "its probability is under 0.1%"],
    );
    let alone = made(&["a"], Metric::Funded, funded(&[0.5]));
    assert_says(&alone, &["There is one design only, so nothing is compared."]);
}

#[test]
fn thresholds_are_said_with_the_part_of_the_prior_beyond_them() {
    let mut answers = made(&["equity", "credits", "grants"], Metric::Funded, funded(&[0.4, 0.3, 0.1]));
    answers.sweeps = vec![
        sweep("injunction", 3, &[1, 1, 1, 0, 0, 0, 0, 0, 0]),
        sweep("donations", 3, &[0, 0, 0, 0, 1, 1, 1, 0, 0]),
        sweep("delay", 3, &[0; 9]),
    ];
    let flip = |factor, below, above, at: f64, probability| Flip {
        factor,
        below,
        above,
        at,
        low: at * 0.9,
        high: at * 1.2,
        probability,
    };
    answers.flips = vec![
        flip("injunction", 1, 0, 0.03, 0.12),
        flip("donations", 0, 1, 2.0, 0.4),
        flip("donations", 1, 0, 4.0, 0.9),
    ];
    assert_says(
        &answers,
        &[
            "“credits” comes first only where injunction is below 0.03 a year (0.027 to 0.036 a year), which is 12% of \
             its prior; or where donations is between 2× (1.8× to 2.4×) and 4× (3.6× to 4.8×), which is 50% of its prior.",
            "“grants” comes first at no value held of any single factor",
        ],
    );
    let mut often = answers.clone();
    often.sweeps.push(sweep("revenue", 3, &[0, 0, 0, 0, 0, 0, 0, 0, 1]));
    often.flips.push(flip("revenue", 0, 1, 5.0, 0.98));
    assert_says(
        &often,
        &[
            "“credits” comes first only:\n",
            "\nwhere revenue is above 5× (4.5× to 6×), which is 2% of its prior\n",
        ],
    );
    assert_well_formed(&html(&often));
    for sweep in &mut answers.sweeps {
        sweep.sure = vec![false; 9];
    }
    assert_says(
        &answers,
        &["which is 12% of its prior, though nowhere there clearly beyond Monte Carlo error"],
    );
    answers.flips.clear();
    answers.sweeps = vec![sweep("delay", 3, &[0; 9])];
    assert!(!said(&answers).contains("trillion"));
    assert_says(&answers, &["“equity” stays first whichever single factor is held anywhere in that range."]);
}

#[test]
fn stresses_that_change_the_first_place_are_named() {
    let mut answers = made(&["a", "b"], Metric::Funded, funded(&[0.4, 0.3]));
    let other = made(&["a", "b"], Metric::Funded, funded(&[0.1, 0.2]));
    let stress = |name: &str, of: &Answers| StressAnswer {
        name: name.to_owned(),
        held: vec![("delay", 36.0)],
        designs: of.designs.iter().map(|design| design.metrics.clone()).collect(),
    };
    answers.stresses = vec![stress("late", &other), stress("calm", &answers)];
    assert_says(
        &answers,
        &[
            "Under the stress “late” “b” comes first, with 20% (19% to 21%).",
            "In 1 other stress case “a” stays first.",
        ],
    );
}

#[test]
fn few_outcomes_are_not_made_much_of() {
    let mut answers = made(&["a"], Metric::Funded, funded(&[0.4]));
    let score = Score {
        name: "raised".to_owned(),
        design: 0,
        metric: "raised",
        month: 12,
        value: 1.3e8,
        disputed: None,
        foretold: [1e7, 5e7, 1e8, 2e8, 9e8],
        place: 0.62,
        crps: 2e7,
        crps_of_median: 3e7,
        within_50: true,
        within_90: true,
        source: "accounts".to_owned(),
        grade: Grade::A,
    };
    let happened = Score { name: "enjoined".to_owned(), metric: "enjoined", value: 0.0, ..score.clone() };
    let mut hindcast = Hindcast { scores: vec![score, happened], within_50: 1, within_90: 1, cases: 1 };
    answers.hindcast = Some(hindcast.clone());
    let page = html(&answers);
    assert!(page.contains("scored and not counted") && page.contains("<td>not counted</td>"));
    for words in [
        "Of 1 case, 1 fell within the 50% interval",
        "cannot show that a study is right",
        "130 million",
        "62%",
        "A a, to January 2019",
    ] {
        assert!(page.contains(words), "{words}");
    }
    hindcast.scores.remove(0);
    (hindcast.within_50, hindcast.within_90, hindcast.cases) = (0, 0, 0);
    answers.hindcast = Some(hindcast);
    assert!(html(&answers).contains("No outcome is a quantity that an interval could miss."));
}

/// The body as XML: well-formed, each id once, each reference to one that is there.
fn assert_well_formed(page: &str) {
    let body = &page[page.find("<body>").unwrap()..page.rfind("</html>").unwrap()];
    let tree = roxmltree::Document::parse(body).unwrap_or_else(|error| panic!("{error}"));
    let mut ids = BTreeSet::new();
    for node in tree.descendants() {
        if let Some(id) = node.attribute("id") {
            assert!(ids.insert(id.to_owned()), "{id} twice");
        }
    }
    let mut level = 1;
    for node in tree.descendants().filter(|node| node.is_element()) {
        for id in node.attribute("aria-labelledby").unwrap_or_default().split_whitespace() {
            assert!(ids.contains(id), "{id}");
        }
        if let Some(id) = node.attribute("href").map(|link| link.strip_prefix('#').expect("within the page"))
        {
            assert!(ids.contains(id), "{id}");
        }
        let child = |name: &str| node.children().any(|child| child.has_tag_name(name));
        match node.tag_name().name() {
            "svg" if node.attribute("role").is_some() => {
                assert_eq!(node.attribute("role"), Some("img"));
                assert!(child("title") && child("desc"));
            }
            "table" => assert!(child("caption") && child("thead")),
            "th" => assert!(node.attribute("scope").is_some()),
            name @ ("h1" | "h2" | "h3") => {
                let own: u32 = name[1..].parse().unwrap();
                assert!(own <= level + 1, "{name} after h{level}");
                level = own;
            }
            "script" | "img" | "link" | "iframe" | "a" if node.attribute("href").is_none() => {
                panic!("{} has no place here", node.tag_name().name())
            }
            _ => {}
        }
        for attribute in node.attributes() {
            assert!(
                !attribute.name().starts_with("on") && attribute.name() != "style",
                "{}",
                attribute.name()
            );
        }
    }
}

#[test]
fn a_strangers_text_stays_text() {
    let page = html(&hostile().0);
    assert_well_formed(&page);
    for markup in ["<script", "<img", "<b on", "<i>", "<u>", "<svg on", "<a href='"] {
        assert!(!page.contains(markup), "{markup}");
    }
    for number in 1..=7 {
        assert!(page.contains(&format!("alert({number})")), "text {number} is shown");
    }
    let head = page.split("</head>").next().unwrap();
    assert_eq!(head.matches("</title>").count(), 1);
}

#[test]
fn nothing_that_was_answered_is_left_out() {
    let answers = &hostile().0;
    let page = html(answers);
    for design in &answers.designs {
        let name = text(&design.name);
        assert!(page.matches(&name).count() > 10, "{name}");
        design.stakes.iter().for_each(|stake| assert!(page.contains(&text(&stake.name)), "{}", stake.name));
    }
    for factor in Factor::ALL {
        assert!(page.contains(&format!("<code>{}</code>", factor.meaning().key)), "{}", factor.meaning().key);
    }
    for metric in Metric::ALL {
        assert!(page.contains(&format!("<code>{}</code>", metric.meaning().key)), "{}", metric.meaning().key);
    }
    for id in [
        "answer",
        "designs",
        "cash",
        "spread",
        "instruments",
        "differences",
        "regret",
        "tornado",
        "thresholds",
        "variance",
        "maps",
        "stress",
        "hindcast",
        "priors",
        "method",
    ] {
        assert!(page.contains(&format!("<h2 id=\"{id}\">")), "{id}");
        assert!(page.contains(&format!("<a href=\"#{id}\">")), "{id}");
    }
    let seen = page.to_lowercase();
    for words in ["unaudited", "not legal advice", "not a forecast", "no recommendation to sell or to buy"] {
        assert!(seen.contains(words), "{words}");
    }
}

#[test]
fn a_number_that_is_none_is_never_shown() {
    let nothing = |_: usize, _: Metric| f64::NAN;
    let endless = |_: usize, metric: Metric| if metric == Metric::Owed { f64::INFINITY } else { 0.5 };
    let mut empty = made(&["a", "b"], Metric::Mission, nothing);
    empty.designs[0].course = vec![[f64::NAN; 5]; 25];
    empty.designs[1].course.clear();
    let page = html(&empty);
    assert!(!page.contains("<small>0% to 100%"), "no interval of what never arises");
    let pages = [html(&hostile().0), html(&empty), html(&made(&["a", "b"], Metric::Funded, endless))];
    for page in pages {
        assert_well_formed(&page);
        let body = page.split("</head>").nth(1).unwrap();
        for text in ["NaN", "inf ", "inf<", "inf%", "inf\"", ">inf", "undefined", "null"] {
            assert!(!body.contains(text), "{text}");
        }
    }
}

#[test]
fn the_page_allows_its_own_styles_and_nothing_else() {
    let page = html(&hostile().0);
    let hash = |style: &str| {
        format!(
            "'sha256-{}'",
            base64::engine::general_purpose::STANDARD.encode(Sha256::digest(style.as_bytes()))
        )
    };
    let styles: Vec<String> =
        page.split("<style>").skip(1).map(|rest| hash(rest.split("</style>").next().unwrap())).collect();
    assert_eq!(format!("'{OWN_STYLE_HASH}'"), styles[1], "put the right one into report/mod.rs");
    assert!(page.contains(&format!("content=\"default-src 'none'; style-src {}\"", styles.join(" "))));
}

#[test]
fn the_two_tables_hold_every_path_of_every_design() {
    let (answers, table) = hostile();
    let (mut text, mut bytes) = (Vec::new(), Vec::new());
    write_csv(answers, table, &mut text).unwrap();
    write_parquet(answers, table, &mut bytes).unwrap();

    let mut reader = csv::Reader::from_reader(text.as_slice());
    let names: Vec<String> = reader.headers().unwrap().iter().map(str::to_owned).collect();
    assert_eq!(names[..3], ["path", "design", "funded"]);
    assert_eq!(names.len(), 2 + Metric::ALL.len() + 2 * 3);
    assert!(names.contains(&"paid <u>gift</u>, \"and\" more".to_owned()));
    let rows: Vec<csv::StringRecord> = reader.records().map(Result::unwrap).collect();
    assert_eq!(rows.len(), 2 * table.paths());
    assert!(rows[0][1].starts_with("'=HYPERLINK"), "no spreadsheet takes it for a formula");

    let reader = SerializedFileReader::new(bytes::Bytes::from(bytes)).unwrap();
    let columns = reader.metadata().file_metadata().schema_descr().columns().to_vec();
    assert_eq!(columns.iter().map(|column| column.name().to_owned()).collect::<Vec<_>>(), names);
    let mut empty = 0;
    let read: Vec<_> = reader.get_row_iter(None).unwrap().map(Result::unwrap).collect();
    assert_eq!(read.len(), rows.len());
    for (row, read) in rows.iter().zip(&read) {
        for (at, (_, field)) in read.get_column_iter().enumerate() {
            use parquet::record::Field;
            match field {
                Field::Null => {
                    assert_eq!(&row[at], "");
                    empty += 1;
                }
                Field::Double(value) => assert_eq!(row[at].parse(), Ok(*value)),
                Field::Long(value) => assert_eq!(row[at].parse(), Ok(*value)),
                Field::Str(value) => assert_eq!(row[at].trim_start_matches('\''), value),
                other => panic!("{other:?}"),
            }
        }
    }
    let missing = |metric: Metric| {
        let of = |design: usize| table.metric(design, metric).filter(|value| value.is_nan()).count();
        of(0) + of(1)
    };
    let missing: usize = Metric::ALL.into_iter().map(missing).sum();
    assert_eq!(empty, missing + 2 * 3 * table.paths(), "each design lacks the other's instrument");
}
