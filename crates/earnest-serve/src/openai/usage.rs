//! What an answer states of its usage, in all the words that servers have for it. Fields are merged over events, the
//! greatest of each; zero, empty, absent and partial are one rule: what is not there was not stated.

use earnest_core::charge::Usage;
use serde::{Deserialize, Serialize};

/// Usage as it was stated, field by field.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stated {
    /// Read.
    pub input: Option<u64>,
    /// Written.
    pub output: Option<u64>,
    /// Both, and whatever else the server counts.
    pub total: Option<u64>,
    /// Read from a cache: of `input`, or beside it.
    pub cached: Option<u64>,
    /// Read, and not from a cache.
    pub missed: Option<u64>,
    /// Written and not shown: of `output`, or beside it.
    pub reasoning: Option<u64>,
}

/// Which field a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Field {
    Input,
    Output,
    Total,
    Cached,
    Missed,
    Reasoning,
}

impl Field {
    /// By the names that servers use. A new one is an entry here.
    pub(super) fn named(name: &str) -> Option<Field> {
        Some(match name {
            "prompt_tokens" | "input_tokens" | "promptTokens" | "inputTokens" | "prompt_token_count"
            | "inputTokenCount" => Field::Input,
            "completion_tokens"
            | "output_tokens"
            | "completionTokens"
            | "outputTokens"
            | "generated_tokens"
            | "candidates_token_count"
            | "outputTokenCount"
            | "predicted_n" => Field::Output,
            "total_tokens" | "totalTokens" | "total_token_count" => Field::Total,
            "cached_tokens"
            | "prompt_cache_hit_tokens"
            | "cache_read_input_tokens"
            | "cached_input_tokens"
            | "num_cached_tokens"
            | "cached_prompt_tokens"
            | "cached_content_token_count"
            | "cache_n" => Field::Cached,
            "prompt_cache_miss_tokens" | "prompt_n" => Field::Missed,
            "reasoning_tokens" => Field::Reasoning,
            _ => return None,
        })
    }
}

impl Stated {
    pub(super) fn set(&mut self, field: Field, count: u64) {
        let place = match field {
            Field::Input => &mut self.input,
            Field::Output => &mut self.output,
            Field::Total => &mut self.total,
            Field::Cached => &mut self.cached,
            Field::Missed => &mut self.missed,
            Field::Reasoning => &mut self.reasoning,
        };
        *place = (*place).max(Some(count));
    }

    /// The greatest of each.
    pub fn merge(&mut self, other: Stated) {
        let Stated { input, output, total, cached, missed, reasoning } = other;
        self.input = self.input.max(input);
        self.output = self.output.max(output);
        self.total = self.total.max(total);
        self.cached = self.cached.max(cached);
        self.missed = self.missed.max(missed);
        self.reasoning = self.reasoning.max(reasoning);
    }

    /// What it says, with the total as a witness to what was counted beside and not within. Read and written are none
    /// where they are not stated, or zero.
    pub fn resolved(&self) -> Resolved {
        let some = |count: Option<u64>| count.filter(|count| *count > 0);
        let (cached, mut reasoning) = (self.cached.unwrap_or(0), self.reasoning.unwrap_or(0));
        let mut input = some(self.input).or(some(self.missed).map(|missed| missed.saturating_add(cached)));
        let mut output = some(self.output);
        // More was cached than read: it was counted beside. So it was where the total says so.
        let mut beside = cached > input.unwrap_or(0) && input.is_some();
        let total = some(self.total);
        if let (None, Some(written)) = (total, output)
            && reasoning > written
        {
            output = Some(written.saturating_add(reasoning));
        }
        if let Some(total) = total {
            let more = total.saturating_sub(input.unwrap_or(0).saturating_add(output.unwrap_or(0)));
            match (input, output) {
                _ if more == 0 => {}
                (None, Some(_)) => input = Some(more),
                // What was written and what was thought cannot be told apart.
                (Some(_), None) => (output, reasoning) = (Some(more), more),
                (None, None) => {}
                (Some(_), Some(written)) => {
                    beside |= cached > 0 && (more == cached || more == cached.saturating_add(reasoning));
                    let thought = if beside { more.saturating_sub(cached) } else { more };
                    if thought > 0 {
                        (output, reasoning) = (Some(written.saturating_add(thought)), reasoning.max(thought));
                    }
                }
            }
        }
        if beside {
            input = input.map(|input| input.saturating_add(cached));
        }
        let reasoning = reasoning.min(output.unwrap_or(0));
        let total = total.filter(|_| input.is_none() && output.is_none());
        Resolved { input, output, cached: cached.min(input.unwrap_or(0)), reasoning, total }
    }
}

/// Usage that is stated, as one reads it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resolved {
    /// Read, those from a cache included.
    pub input: Option<u64>,
    /// Written, those that are not shown included.
    pub output: Option<u64>,
    /// Of those read, from a cache.
    pub cached: u64,
    /// Of those written, not shown.
    pub reasoning: u64,
    /// All, where only that was stated.
    pub total: Option<u64>,
}

impl Resolved {
    /// With nothing where nothing was stated.
    pub fn usage(&self) -> Usage {
        Usage { input: self.input.unwrap_or(0), cached: self.cached, output: self.output.unwrap_or(0) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stated(fields: &[(&str, u64)]) -> Resolved {
        let mut stated = Stated::default();
        for (name, count) in fields {
            stated.set(Field::named(name).expect("a known name"), *count);
        }
        stated.resolved()
    }

    #[test]
    fn what_is_beside_and_what_is_within_the_total_tells() {
        let all = |input, cached, output| (Some(input), cached, Some(output));
        for (fields, expected) in [
            (&[("prompt_tokens", 9), ("completion_tokens", 4)][..], all(9, 0, 4)),
            // DeepSeek: a part, and named otherwise.
            (
                &[
                    ("prompt_tokens", 1000),
                    ("completion_tokens", 1),
                    ("prompt_cache_hit_tokens", 950),
                    ("prompt_cache_miss_tokens", 50),
                ],
                all(1000, 950, 1),
            ),
            (
                &[
                    ("prompt_cache_hit_tokens", 950),
                    ("prompt_cache_miss_tokens", 50),
                    ("completion_tokens", 1),
                ],
                all(1000, 950, 1),
            ),
            // Beside: the total says so, or it cannot be a part.
            (
                &[
                    ("prompt_tokens", 50),
                    ("completion_tokens", 1),
                    ("total_tokens", 1001),
                    ("cached_tokens", 950),
                ],
                all(1000, 950, 1),
            ),
            (
                &[("input_tokens", 50), ("output_tokens", 1), ("cache_read_input_tokens", 950)],
                all(1000, 950, 1),
            ),
            // xAI: reasoning beside what was written.
            (
                &[
                    ("prompt_tokens", 9),
                    ("completion_tokens", 4),
                    ("total_tokens", 113),
                    ("reasoning_tokens", 100),
                ],
                all(9, 0, 104),
            ),
            (
                &[
                    ("prompt_tokens", 9),
                    ("completion_tokens", 104),
                    ("total_tokens", 113),
                    ("reasoning_tokens", 100),
                ],
                all(9, 0, 104),
            ),
            (
                &[
                    ("prompt_tokens", 9),
                    ("completion_tokens", 4),
                    ("total_tokens", 163),
                    ("cached_tokens", 50),
                    ("reasoning_tokens", 100),
                ],
                all(59, 50, 104),
            ),
            // A total and one of two.
            (&[("prompt_tokens", 9), ("total_tokens", 13)], all(9, 0, 4)),
            // Gemini: thoughts are in the total alone.
            (&[("prompt_tokens", 9), ("completion_tokens", 4), ("total_tokens", 500)], all(9, 0, 491)),
            (&[("prompt_tokens", 9), ("completion_tokens", 4), ("reasoning_tokens", 100)], all(9, 0, 104)),
            // Nothing fits: what cannot be is not made of it.
            (
                &[
                    ("prompt_tokens", 9),
                    ("completion_tokens", 4),
                    ("total_tokens", 20),
                    ("cached_tokens", 50),
                ],
                all(59, 50, 4),
            ),
            (&[("prompt_tokens", 0), ("completion_tokens", 0), ("total_tokens", 0)], (None, 0, None)),
            (&[("total_tokens", 7)], (None, 0, None)),
        ] {
            let found = stated(fields);
            assert_eq!((found.input, found.cached, found.output), expected, "{fields:?}");
        }
    }

    #[test]
    fn the_greatest_of_each_counts() {
        let mut merged = Stated { input: Some(700), output: Some(1), ..Stated::default() };
        merged.merge(Stated { output: Some(100), ..Stated::default() });
        merged.merge(Stated::default());
        assert_eq!(merged.resolved().usage(), Usage { input: 700, cached: 0, output: 100 });
    }
}
