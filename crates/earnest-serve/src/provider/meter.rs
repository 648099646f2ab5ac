//! Reads an answer while it passes, as the gateway reads it: what its upstream states of usage, and how many pieces of a
//! stream carried something written. What it cannot read is nothing said.

use bytes::BytesMut;

use super::usage::Usage;
use crate::openai::answer::Seen;
use crate::openai::events::{Events, data_of};
use crate::openai::request::Most;

/// Longest answer in one piece that is read.
const LONGEST: usize = 64 << 20;

/// Counts one answer.
#[derive(Default)]
pub struct Meter {
    kind: Kind,
    seen: Seen,
    chunks: u64,
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
    /// The next bytes of the answer.
    pub fn read(&mut self, bytes: &[u8]) {
        if let (Kind::Unknown, Some(first)) = (&self.kind, bytes.trim_ascii_start().first()) {
            self.kind = match first {
                b'{' | b'[' | b'<' | b'"' => Kind::Whole(BytesMut::new()),
                _ => Kind::Stream(Events::default()),
            };
        }
        match &mut self.kind {
            Kind::Unknown | Kind::Other => {}
            Kind::Whole(all) if all.len() + bytes.len() > LONGEST => self.kind = Kind::Other,
            Kind::Whole(all) => all.extend_from_slice(bytes),
            Kind::Stream(events) => {
                events.push(bytes);
                loop {
                    match events.take() {
                        Ok(Some(event)) => {
                            let read = data_of(&event).and_then(|data| self.seen.read(&data).ok());
                            self.chunks += u64::from(read.is_some_and(|event| event.wrote));
                        }
                        Ok(None) => break,
                        Err(_) => {
                            self.kind = Kind::Other;
                            break;
                        }
                    }
                }
            }
        }
    }

    /// Nothing more comes.
    pub fn end(&mut self) {
        match std::mem::take(&mut self.kind) {
            Kind::Whole(all) => drop(self.seen.read(&all)),
            Kind::Stream(mut events) => {
                if let Some(data) = data_of(&events.rest()) {
                    let _ = self.seen.read(&data);
                }
            }
            Kind::Unknown | Kind::Other => {}
        }
        self.kind = Kind::Other;
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
}
