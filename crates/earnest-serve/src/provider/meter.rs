//! Reads an answer while it passes, as the gateway reads it: what its upstream states of usage, and how many pieces of a
//! stream carried something written. What it cannot read is nothing said. For whoever runs the provider it keeps which
//! model the answer names, and what is said in place of one.

use bytes::BytesMut;

use super::usage::Usage;
use crate::openai::answer::Seen;
use crate::openai::events::{Events, data_of};
use crate::openai::fault::Fault;
use crate::openai::request::Most;

/// Longest answer in one piece that is read.
const LONGEST: usize = 64 << 20;
/// Bytes of a refusal that are read.
const REFUSAL: usize = 64 << 10;

/// Counts one answer.
#[derive(Default)]
pub struct Meter {
    kind: Kind,
    seen: Seen,
    chunks: u64,
    /// The first that the answer names.
    model: Option<String>,
    /// What is said in place of an answer.
    refusal: Option<BytesMut>,
}

#[derive(Default)]
enum Kind {
    /// What came so far is blank.
    #[default]
    Unknown,
    Whole(BytesMut),
    Stream(Events),
    /// Too long, or no answer.
    Other,
}

impl Meter {
    /// Of what is no answer: its beginning is kept.
    pub fn of_refusal() -> Self {
        Meter { refusal: Some(BytesMut::new()), ..Meter::default() }
    }

    /// The next bytes of the answer.
    pub fn read(&mut self, bytes: &[u8]) {
        if self.refusal.is_some() {
            self.read_refusal(bytes);
        }
        if let (Kind::Unknown, Some(first)) = (&self.kind, bytes.trim_ascii_start().first()) {
            self.kind = match first {
                b'{' | b'[' | b'<' | b'"' => Kind::Whole(BytesMut::new()),
                _ => Kind::Stream(Events::default()),
            };
        }
        let mut kind = std::mem::take(&mut self.kind);
        match &mut kind {
            Kind::Unknown | Kind::Other => {}
            Kind::Whole(all) if all.len() + bytes.len() > LONGEST => kind = Kind::Other,
            Kind::Whole(all) => all.extend_from_slice(bytes),
            Kind::Stream(events) => {
                events.push(bytes);
                loop {
                    match events.take() {
                        Ok(Some(event)) => {
                            let wrote = data_of(&event).is_some_and(|data| self.take(&data));
                            self.chunks += u64::from(wrote);
                        }
                        Ok(None) => break,
                        Err(_) => {
                            kind = Kind::Other;
                            break;
                        }
                    }
                }
            }
        }
        self.kind = kind;
    }

    /// Nothing more comes.
    pub fn end(&mut self) {
        match std::mem::take(&mut self.kind) {
            Kind::Whole(all) => drop(self.take(&all)),
            Kind::Stream(mut events) => {
                if let Some(data) = data_of(&events.rest()) {
                    self.take(&data);
                }
            }
            Kind::Unknown | Kind::Other => {}
        }
        self.kind = Kind::Other;
    }

    /// The same of a refusal that nobody counts; whether more of it is read.
    pub fn read_refusal(&mut self, bytes: &[u8]) -> bool {
        let refusal = self.refusal.get_or_insert_default();
        let room = REFUSAL.saturating_sub(refusal.len());
        refusal.extend_from_slice(&bytes[..bytes.len().min(room)]);
        refusal.len() < REFUSAL
    }

    /// Whether something was written in this.
    fn take(&mut self, data: &[u8]) -> bool {
        let Ok(event) = self.seen.read(data) else { return false };
        if event.error && self.refusal.is_none() {
            self.refusal = Some(data[..data.len().min(REFUSAL)].into());
        }
        self.model = self.model.take().or(event.model.filter(|model| !model.is_empty()));
        event.wrote
    }

    /// The model that says it answered.
    pub fn model(&self) -> Option<&str> {
        self.model.as_deref()
    }

    /// What was said in place of an answer, if it was.
    pub fn refusal(&self) -> Option<Fault> {
        self.refusal.as_deref().map(Fault::read)
    }

    /// What the upstream counted, as far as it said.
    pub fn usage(&self, most: &Most) -> Option<Usage> {
        let stated = self.seen.stated(most);
        let said = stated.input.is_some() || stated.output.is_some();
        let usage = stated.usage();
        said.then_some(Usage { prompt: usage.input, cached: usage.cached, completion: usage.output })
    }

    /// Pieces of a stream that carried something written.
    pub fn chunks(&self) -> u64 {
        self.chunks
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::openai::Endpoint;
    use crate::openai::dialect::Dialect;
    use crate::openai::request::Asked;

    /// In pieces of at most so many bytes: the answer may come in any.
    fn metered(body: &[u8], piece: usize) -> (Option<Usage>, u64) {
        let asked = Asked::read(Endpoint::Chat, br#"{"model":"m"}"#.to_vec().into(), &Dialect::default(), 9);
        let mut meter = Meter::default();
        for piece in body.chunks(piece) {
            meter.read(piece);
        }
        meter.end();
        (meter.usage(&asked.unwrap().most), meter.chunks())
    }

    #[test]
    fn an_answer_is_read_however_it_is_cut() {
        let usage = |prompt, cached, completion| Some(Usage { prompt, cached, completion });
        let json = r#" {"choices":[{"message":{"content":"hi"}}],"usage":{"prompt_tokens":3,"completion_tokens":4}}"#;
        let stream = concat!(
            "data: {\"choices\":[{\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}],\"usage\":null}\n\n: a comment\n\n",
            "data: {\"choices\":[{\"delta\":{\"content\":\"He\"}}]}\n\ndata:{\"choices\":[{\"delta\":{\"content\":\"llo\"}}]}\r\n\r\n",
            "data: not json\n\ndata: {\"choices\":[],\"usage\":{\"prompt_tokens\":7,\"completion_tokens\":2,",
            "\"prompt_tokens_details\":{\"cached_tokens\":5}}}\n\ndata: [DONE]\n",
        );
        for piece in [1, 7, 4_096] {
            assert_eq!(metered(json.as_bytes(), piece), (usage(3, 0, 4), 0));
            assert_eq!(metered(stream.as_bytes(), piece), (usage(7, 5, 2), 2));
            assert_eq!(metered(b"<html>", piece), (None, 0));
            assert_eq!(metered(b"", piece), (None, 0));
        }
    }

    #[test]
    fn who_answers_is_kept_and_what_is_said_in_place_of_an_answer() {
        let said = |mut meter: Meter, body: &str| {
            for piece in body.as_bytes().chunks(7) {
                meter.read(piece);
            }
            meter.end();
            (meter.model().map(str::to_owned), meter.refusal().map(|fault| fault.message))
        };
        let model = |name: &str| Some(name.to_owned());
        let reason = |why: &str| Some(Some(why.to_owned()));
        let json = r#"{"model":"noise","choices":[]}"#;
        assert_eq!(said(Meter::default(), json), (model("noise"), None));
        let stream = format!(
            "data: {{\"model\":\"\",\"choices\":[]}}\n\ndata: {json}\n\ndata: {{\"model\":\"b\"}}\n\n"
        );
        assert_eq!(said(Meter::default(), &stream), (model("noise"), None));
        let error = r#"{"error":{"message":"boom"}}"#;
        assert_eq!(said(Meter::default(), error), (None, reason("boom")));
        assert_eq!(said(Meter::default(), &format!("data: {error}\n\n")), (None, reason("boom")));
        assert_eq!(said(Meter::of_refusal(), "Bad Gateway"), (None, reason("Bad Gateway")));
        assert_eq!(said(Meter::of_refusal(), ""), (None, Some(None)));
        // No more of it is kept than is read.
        let mut meter = Meter::of_refusal();
        meter.read(&vec![b'x'; 1 << 20]);
        assert_eq!(meter.refusal.map(|kept| kept.len()), Some(REFUSAL));
    }
}
