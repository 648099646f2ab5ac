//! Reads an answer, or one event of it, in a single pass: who says it answered, the usage it states, and the text in it.
//! Every string below a message or an output item is text unless it is known not to be.

mod walk;

use std::ops::Range;

use earnest_core::charge::{Service, Usage};

pub(super) use self::walk::is_binary;
use self::walk::walk;
use super::count::{ENDS, Text};
use super::mend::mended;
use super::request::Most;
use super::usage::{Resolved, Stated};

/// Calls whose markup counts.
const CALLS: u64 = 32;
/// Choices that are told apart; what others there are is counted with the last one.
const CHOICES: usize = 4_096;

/// What was read of an answer so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// The text that came, piece by piece.
    pub text: Text,
    /// The same, as some servers tell it beside or again: a choice's `text`, an item, a whole message or response.
    plain: Text,
    items: Text,
    again: Text,
    /// Usage of the answer as a whole.
    stated: Stated,
    /// Events that carry usage and no choice: several servers send one a choice.
    endings: u64,
    /// The sum of their outputs.
    ending_output: u64,
    choices: Vec<Choice>,
    /// Bytes of text under names that no client shows.
    odd: u64,
    /// The model refused, failed, or was called off: it says so itself.
    pub failed: bool,
    /// An end was announced for the answer as a whole.
    pub over: bool,
    /// It has what an answer has: choices, output or data.
    pub is_answer: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Choice {
    wrote: bool,
    finished: bool,
    /// It ended at its bound.
    bounded: bool,
    /// It wrote on behind its end: it is several.
    went_on: bool,
    /// Its own usage, where it came with it.
    usage: Option<Stated>,
}

/// What one event, or the whole answer, says beside that.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Event {
    /// The model that says it answered; an empty name says nothing.
    pub model: Option<String>,
    /// Where that name stands, quotes included, in what was read; none where it cannot be replaced.
    pub model_at: Vec<Range<usize>>,
    /// It carries text.
    pub wrote: bool,
    /// It carries usage, and no text or end: what a client gets only if it asked.
    pub only_usage: bool,
    /// It says that it is an error.
    pub error: bool,
    /// A choice of it says so.
    pub choice_error: bool,
    usage: Option<Stated>,
    choices: usize,
    index: usize,
    ended: bool,
    begins: bool,
    empty_choices: bool,
    /// What is told whole in this event.
    again: Text,
    /// What several names of one thing carry in a choice: of each group the longest counts.
    twins: [Text; 5],
}

/// Not JSON, whatever it is.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct NotJson(serde_json::Error);

/// What was used, as it is charged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// Model tokens.
    pub usage: Usage,
    /// Something of it was not stated, or more than can be true: it is an estimate, or a bound.
    pub estimated: bool,
    /// More was stated or written than was asked for.
    pub beyond: bool,
    /// Why it is not what was stated, if it is not.
    pub why: Option<&'static str>,
}

impl Seen {
    /// Reads a JSON answer, or the data of one event.
    pub fn read(&mut self, data: &[u8]) -> Result<Event, NotJson> {
        let before = (self.text, self.plain, self.items);
        let mut event = Event::default();
        if let Err(error) = walk(self, data, &mut event, Some(data.as_ptr() as usize)) {
            // Once more, of what a strict parser takes.
            let copy = mended(data);
            (self.text, self.plain, self.items) = before;
            event = Event::default();
            walk(self, &copy, &mut event, None).map_err(|_| NotJson(error))?;
        }
        self.took(&mut event);
        Ok(event)
    }

    fn took(&mut self, event: &mut Event) {
        if event.again.bytes > self.again.bytes {
            self.again = event.again;
        }
        event.wrote |= event.again.is_some();
        let Some(stated) = event.usage else { return };
        event.only_usage =
            !(event.wrote || event.ended || event.begins) && (event.empty_choices || event.choices > 0);
        match event.choices {
            // Each choice may come with its own, or with what all have used so far: the greatest of each choice.
            1 => self.choices[event.index].usage.get_or_insert_default().merge(stated),
            choices => {
                if choices == 0 {
                    self.endings += 1;
                    self.ending_output =
                        self.ending_output.saturating_add(stated.resolved().output.unwrap_or(0));
                }
                self.stated.merge(stated);
            }
        }
    }

    /// Something was written.
    pub fn wrote(&self) -> bool {
        self.written().is_some()
    }

    /// All text, as far as it was told at least once.
    pub fn written(&self) -> Text {
        let told = [self.text, self.plain, self.items, self.again];
        let words = |text: &Text| text.bytes - text.data;
        let mut longest = told.into_iter().max_by_key(words).unwrap_or_default();
        let data = told.iter().map(|text| text.data).max().unwrap_or(0);
        (longest.bytes, longest.data) = (words(&longest) + data, data);
        longest.calls = self.text.calls;
        longest
    }

    /// Every choice that has begun has ended, as it says itself.
    pub fn finished(&self) -> bool {
        self.over || (!self.choices.is_empty() && self.choices.iter().all(|choice| choice.finished))
    }

    /// As many as were asked for have begun, and ended.
    pub fn all_finished(&self, most: &Most) -> bool {
        self.over || (self.finished() && self.choices.len() as u64 >= most.choices)
    }

    /// What is stated of usage, over all that came.
    pub fn stated(&self, most: &Most) -> Resolved {
        let whole = self.stated.resolved();
        // The outputs of choices are theirs alone; what is read is read once a prompt.
        let per_prompt = usize::try_from(most.choices / most.prompts.max(1)).unwrap_or(1).max(1);
        let mut own = Resolved::default();
        for prompt in self.choices.chunks(per_prompt) {
            let mut read = Resolved::default();
            for usage in prompt.iter().filter_map(|choice| choice.usage).map(|usage| usage.resolved()) {
                read.input = read.input.max(usage.input);
                read.cached = read.cached.max(usage.cached);
                own.output =
                    usage.output.map(|output| output.saturating_add(own.output.unwrap_or(0))).or(own.output);
                own.reasoning = own.reasoning.saturating_add(usage.reasoning);
            }
            own.input = read.input.map(|input| input.saturating_add(own.input.unwrap_or(0))).or(own.input);
            own.cached = own.cached.saturating_add(read.cached);
        }
        let several = most.choices > 1 && self.endings > 1 && self.endings <= most.choices;
        let output = if several { Some(self.ending_output).filter(|sum| *sum > 0) } else { whole.output };
        match output {
            Some(_) => Resolved { input: whole.input.or(own.input), output, ..whole },
            None => {
                Resolved { input: own.input.max(whole.input), cached: own.cached.max(whole.cached), ..own }
            }
        }
    }

    /// What of the answer is charged where all of it was written out.
    /// `hidden`: reasoning that is stated and not shown counts.
    pub fn count(&self, most: &Most, signed: Option<Resolved>, hidden: bool) -> Counted {
        let stated = self.stated(most);
        self.counted(most, stated, signed, self.written(), hidden)
    }

    /// What is charged where `written` of it was: of what is stated, in proportion and rounded up. Who leaves never pays more
    /// than who stays.
    pub fn count_part(&self, most: &Most, written: Text, hidden: bool) -> Counted {
        let (mut stated, all) = (self.stated(most), self.written());
        let whole = self.counted(most, stated, None, all, hidden);
        // Signatures and pictures weigh nothing beside words.
        let words = |text: Text| if all.bytes > all.data { text.bytes - text.data } else { text.bytes };
        let (part, of) = (words(written).min(words(all)), words(all));
        if part < of {
            let share = |count: u64| {
                let part = (u128::from(count) * u128::from(part)).div_ceil(u128::from(of));
                u64::try_from(part).unwrap_or(u64::MAX)
            };
            stated.output = stated.output.map(share);
            stated.reasoning = share(stated.reasoning);
        }
        let counted = self.counted(most, stated, None, written, hidden);
        Counted { usage: counted.usage.at_most(whole.usage), ..counted }
    }

    fn counted(
        &self,
        most: &Most,
        stated: Resolved,
        signed: Option<Resolved>,
        text: Text,
        hidden: bool,
    ) -> Counted {
        let mut counted = Counted::default();
        let mut input = stated.input;
        let mut output = stated.output;
        let mut cached = stated.cached;
        // Of embeddings nothing is written: the total is what was read.
        if most.service == Service::Embedding {
            input = input.or(stated.total);
        }
        if let Some(signed) = signed {
            // What is signed for counts where it is less.
            let less = |a: Option<u64>, b: Option<u64>| match (a, b) {
                (Some(a), Some(b)) => Some(a.min(b)),
                (a, b) => a.or(b),
            };
            if less(input, signed.input) != input || less(output, signed.output) != output {
                counted.why = Some("less was signed for than the answer states");
            }
            (input, output) = (less(input, signed.input), less(output, signed.output));
            cached = cached.max(signed.cached);
        }
        // What is evidently more than what is stated was not counted.
        let prompts_untold = most.prompts > 1 && input.is_some_and(|input| input < most.read.estimate() / 2);
        if most.usage.input > 0 && (input.is_none() || prompts_untold) {
            input = Some(most.read.estimate().max(1));
            counted.estimated = true;
        }
        let estimate = text.words();
        if most.service == Service::Text {
            let wrote = self.writers().count() as u64;
            // Where there are several choices, what is stated may be one's alone; and some proxies send all as the first.
            let as_one = most.choices > 1 && self.choices.iter().any(|choice| choice.went_on);
            let floor = match wrote {
                0 | 1 if !as_one => u64::from(estimate > 0),
                wrote if most.echo => wrote,
                wrote => (estimate * 2 / 3).max(wrote),
            };
            // Several ended at their bound, and what is stated of all is the bound of one: it is one's alone.
            let ones = self.all_bounded()
                && text == self.written()
                && output == stated.output
                && output == Some(most.each);
            if ones || output.is_none_or(|output| output < floor) {
                // Never less than is stated of one, nor than one for each that wrote.
                let least = estimate.max(floor).max(output.unwrap_or(0));
                output = Some(self.at_bounds(most, text).unwrap_or(least));
                counted.estimated |= estimate > 0;
            }
        }
        if counted.estimated {
            counted.why = Some("not all that was read and written was stated: it is estimated");
        }
        let said = Usage { input: input.unwrap_or(0), cached, output: output.unwrap_or(0) };
        let far = !most.echo && estimate / 4 > most.usage.output;
        counted.beyond = said.output > most.usage.output || far;
        // Of a stranger, only what a client is shown makes room for a statement, and markup for what was asked for.
        let wrote = self.writers().count() as u64;
        let ends = ENDS * (wrote.clamp(1, most.choices.max(1)) + text.calls.min(CALLS));
        let bytes = if hidden {
            text.bytes
        } else {
            (text.bytes - text.data).saturating_sub(self.odd).min(4 * estimate)
        };
        let shown = bytes.saturating_add(ends);
        let hidden = if hidden { stated.reasoning } else { 0 };
        let bound = most.usage.output.min(shown.saturating_add(hidden));
        counted.usage = said.at_most(Usage { output: bound, ..most.usage });
        if counted.usage.output < said.output || counted.usage.input < said.input {
            // What is left of it nobody stated: it is a bound of what can be true.
            counted.estimated = true;
            counted.why = Some(match said.output > most.usage.output || said.input > most.usage.input {
                true => "more was stated than was asked for",
                false => "more was stated than the answer's text can have",
            });
        }
        counted
    }

    fn writers(&self) -> impl Iterator<Item = &Choice> {
        self.choices.iter().filter(|choice| choice.wrote)
    }

    /// Several wrote, and each ended at its bound.
    fn all_bounded(&self) -> bool {
        self.writers().count() > 1 && self.writers().all(|choice| choice.bounded)
    }

    /// Where every choice that wrote ended at its bound, they wrote that many each.
    fn at_bounds(&self, most: &Most, text: Text) -> Option<u64> {
        if !self.all_bounded() {
            return None;
        }
        let all = most.each.checked_mul(self.writers().count() as u64)?;
        // A context that was full ends a choice in the same words, with less.
        (all <= text.bytes && all <= text.words().saturating_mul(2)).then_some(all)
    }
}

/// Whether an answer may come from a model: without case and vendor's prefix, and names carry dates and sizes behind them.
pub fn is_the_model<'n>(said: &str, names: impl IntoIterator<Item = &'n str>) -> bool {
    let plain = |name: &str| name.rsplit('/').next().unwrap_or(name).to_ascii_lowercase();
    let said = plain(said);
    names.into_iter().any(|name| {
        let name = plain(name);
        said.strip_prefix(&name).is_some_and(|rest| rest.is_empty() || rest.starts_with(['-', ':', '@', '.']))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::openai::Endpoint;
    use crate::openai::dialect::Dialect;
    use crate::openai::request::Asked;
    use serde_json::{Value, json};

    fn most(n: u64) -> Most {
        let body = json!({"model": "m", "n": n, "max_tokens": 5_000, "messages": [{"role": "user", "content": "hello"}]});
        Asked::read(Endpoint::Chat, body.to_string().into_bytes().into(), &Dialect::default(), 9)
            .unwrap()
            .most
    }

    fn said(choices: Value, usage: Value) -> Seen {
        let mut seen = Seen::default();
        seen.read(json!({"model": "m", "choices": choices, "usage": usage}).to_string().as_bytes()).unwrap();
        seen
    }

    fn words(text: &str) -> Value {
        json!([{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}])
    }

    #[test]
    fn a_stranger_is_paid_for_what_is_shown_and_nothing_else() {
        let all = json!({"prompt_tokens": 9, "completion_tokens": 4_096});
        let junk = "A".repeat(20_000);
        let message = |more: Value| {
            let mut message = json!({"role": "assistant", "content": "Hello"});
            message.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            json!([{"index": 0, "message": message, "finish_reason": "stop"}])
        };
        let calls: Vec<Value> = (0..300).map(|_| json!({"name": "a"})).collect();
        for choices in [
            words("Hello"),
            json!([{"index": 4_095, "message": {"content": "Hello"}}]),
            message(json!({"x": junk})),
            message(json!({"x": vec![0; 5_000]})),
            message(json!({"signature": junk})),
            message(json!({"reasoning_details": [{"data": junk}]})),
            message(json!({"content": format!("Hello{}", " ".repeat(5_000))})),
            (0..10).map(|index| json!({"index": index, "message": {"content": "Hi"}})).collect(),
        ] {
            let counted = said(choices.clone(), all.clone()).count(&most(1), None, false);
            assert!(counted.usage.output <= 60, "{} for {choices}", counted.usage.output);
        }
        let named = said(message(json!({"x": calls})), all.clone()).count(&most(1), None, false);
        assert!(named.usage.output <= 600, "{}", named.usage.output);
        // One's own upstream is believed, up to what was asked for.
        let believed = said(
            words("Hello"),
            json!({"prompt_tokens": 9, "completion_tokens": 3_000,
            "completion_tokens_details": {"reasoning_tokens": 2_995}}),
        );
        assert_eq!(believed.count(&most(1), None, true).usage.output, 3_000);
        assert!(believed.count(&most(1), None, false).usage.output < 30);
    }

    #[test]
    fn a_stated_count_of_one_choice_stands_whatever_its_text() {
        for text in ["─".repeat(4_000), "🦊".repeat(300), "word ".repeat(4_000)] {
            let counted = said(words(&text), json!({"prompt_tokens": 9, "completion_tokens": 125})).count(
                &most(1),
                None,
                true,
            );
            assert_eq!((counted.usage.output, counted.estimated), (125, false));
        }
        let silent = said(words(&"word ".repeat(400)), json!({"prompt_tokens": 9, "completion_tokens": 0}));
        let counted = silent.count(&most(1), None, true);
        assert!(counted.estimated && (100..=1_600).contains(&counted.usage.output), "{counted:?}");
    }

    #[test]
    fn several_choices_are_not_had_for_one() {
        let five = |index: u64| json!({"index": index, "message": {"content": "five five five five five"}, "finish_reason": "length"});
        let one = said((0..100).map(five).collect(), json!({"prompt_tokens": 9, "completion_tokens": 5}));
        let counted = one.count(&most(100), None, true);
        assert!(counted.estimated && counted.usage.output >= 300, "{counted:?}");
        let all = said((0..100).map(five).collect(), json!({"prompt_tokens": 9, "completion_tokens": 500}));
        assert_eq!(all.count(&most(100), None, true).usage.output, 500);
    }

    /// Short answers to many prompts, as one sorts things with: each is one word, and one server states those of the last.
    #[test]
    fn a_letter_each_is_a_model_token_each() {
        let each = |texts: &[&str], bound: u64, stated: u64| {
            let body = json!({"model": "m", "prompt": vec!["is it a?"; texts.len()], "max_tokens": bound});
            let asked = Asked::read(
                Endpoint::Completions,
                body.to_string().into_bytes().into(),
                &Dialect::default(),
                9,
            );
            let choice = |(index, text): (usize, &&str)| json!({"index": index, "text": text, "finish_reason": "length"});
            let choices: Value = texts.iter().enumerate().map(choice).collect();
            let seen = said(choices, json!({"prompt_tokens": 60, "completion_tokens": stated}));
            let counted = seen.count(&asked.unwrap().most, None, true);
            (counted.usage.output, counted.estimated)
        };
        assert_eq!(each(&["Y"; 12], 1, 1), (12, true));
        assert_eq!(each(&["Y"; 12], 1, 12), (12, false));
        assert_eq!(each(&["\n"; 8], 1, 1), (8, true));
        assert_eq!(each(&["-------"; 8], 7, 7), (14, true), "not less than is stated, nor than a run each");
        assert_eq!(each(&["       "; 8], 7, 7), (8, true));
        // What is stated may be the bound of one: then it is told that it is an estimate.
        assert_eq!(each(&[";\"bbEbx{rr", "s6[Tg}v6 {"], 10, 10), (20, true));
    }

    #[test]
    fn several_choices_that_are_sent_as_one_are_not_had_for_one() {
        let mut seen = Seen::default();
        for end in [Value::Null, json!("stop")].iter().cycle().take(60) {
            let choice =
                json!({"index": 0, "delta": {"content": "five five five five "}, "finish_reason": end});
            seen.read(json!({"choices": [choice]}).to_string().as_bytes()).unwrap();
        }
        seen.read(br#"{"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 8}}"#).unwrap();
        let counted = seen.count(&most(30), None, true);
        assert!(counted.estimated && (120..=240).contains(&counted.usage.output), "{counted:?}");
        // Where one was asked for, it is that one's.
        assert_eq!(seen.count(&most(1), None, true).usage.output, 8);
    }

    #[test]
    fn what_is_told_twice_counts_once() {
        let mut seen = Seen::default();
        for _ in 0..3 {
            let delta = json!({"reasoning": "hm hm ", "reasoning_content": "hm hm ", "reasoning_details": [{"text": "hm hm "}]});
            seen.read(json!({"choices": [{"index": 0, "delta": delta}]}).to_string().as_bytes()).unwrap();
        }
        assert_eq!(seen.written().bytes, 18);
        let whole = words("hm hm hm hm hm hm ");
        seen.read(json!({"object": "chat.completion", "choices": whole}).to_string().as_bytes()).unwrap();
        assert_eq!(seen.written().bytes, 18);
    }

    #[test]
    fn another_models_name_is_noticed() {
        for (said, is) in [
            ("gpt-4o-2024-08-06", true),
            ("text-large", true),
            ("Vendor/GPT-4o", true),
            ("gpt-4omini", false),
            ("tiny", false),
        ] {
            assert_eq!(is_the_model(said, ["text-large", "gpt-4o"]), is, "{said}");
        }
    }
}
