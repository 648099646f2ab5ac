//! What the gateway counted of a request where that is less than its provider stated, and why. It is told on the link
//! that the request went over, whenever there is time: nothing hangs on it but that the provider can see its pay.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::hello::is_model_name;
use super::usage::{Usage, is_request_id};

/// Where a provider is told. One that does not know it answers 404, and is told nothing more.
pub const COUNTED: &str = "/earnest/counted";
/// Most that are told at once.
pub const MOST_AT_ONCE: usize = 64;
/// Most bytes of what is told at once.
pub const LONGEST: usize = 64 << 10;
/// Most bytes of a reason.
const LONGEST_WHY: usize = 200;

/// One request of which less was counted than stated.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counted {
    /// The gateway's id of it.
    pub request: String,
    /// By the gateway's name.
    pub model: String,
    /// What the provider stated, if it did.
    pub stated: Option<Usage>,
    /// What is paid.
    pub counted: Usage,
    /// In words that sum up: the same for all requests of a kind, such as "cut off by the client".
    pub why: String,
}

impl Counted {
    /// Model tokens, read and written, that were stated and not counted.
    pub fn less(&self) -> u64 {
        let stated = self.stated.unwrap_or(self.counted);
        let less = |stated: u64, counted: u64| stated.saturating_sub(counted);
        less(stated.prompt, self.counted.prompt)
            .saturating_add(less(stated.completion, self.counted.completion))
    }

    /// Whether it can be written down and shown on a terminal.
    fn is_fit(&self) -> bool {
        is_request_id(&self.request)
            && is_model_name(&self.model)
            && (1..=LONGEST_WHY).contains(&self.why.len())
            && !self.why.chars().any(char::is_control)
    }
}

/// As they are told.
pub fn written(counted: &[Counted]) -> Bytes {
    serde_json::to_vec(counted).expect("words and numbers").into()
}

/// What was told; none where a gateway of another kind or a bad one told something else.
pub fn read(bytes: &[u8]) -> Option<Vec<Counted>> {
    let told: Vec<Counted> = serde_json::from_slice(bytes).ok()?;
    (told.len() <= MOST_AT_ONCE && told.iter().all(Counted::is_fit)).then_some(told)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usage(prompt: u64, completion: u64) -> Usage {
        Usage { prompt, cached: 0, completion }
    }

    #[test]
    fn what_is_told_is_read_and_what_cannot_be_shown_is_not() {
        let counted = Counted {
            request: "req_1".into(),
            model: "small".into(),
            stated: Some(usage(10, 20)),
            counted: usage(9, 5),
            why: "cut off by the client".into(),
        };
        assert_eq!(counted.less(), 16);
        assert_eq!(Counted { stated: None, ..counted.clone() }.less(), 0);
        let told = [counted.clone(), counted.clone()];
        assert_eq!(read(&written(&told)), Some(told.to_vec()));
        for bad in [
            Counted { request: "a b".into(), ..counted.clone() },
            Counted { model: String::new(), ..counted.clone() },
            Counted { why: "\u{1b}[2J".into(), ..counted.clone() },
            Counted { why: "x".repeat(201), ..counted.clone() },
        ] {
            assert_eq!(read(&written(&[bad])), None);
        }
        assert_eq!(read(&written(&vec![counted.clone(); MOST_AT_ONCE + 1])), None);
        let most = Counted {
            request: "x".repeat(128),
            model: "x".repeat(128),
            stated: Some(Usage { prompt: u64::MAX, cached: u64::MAX, completion: u64::MAX }),
            counted: Usage { prompt: u64::MAX, cached: u64::MAX, completion: u64::MAX },
            why: "x".repeat(LONGEST_WHY),
        };
        assert!(written(&vec![most; MOST_AT_ONCE]).len() <= LONGEST);
        assert_eq!(read(b"{}"), None);
    }
}
