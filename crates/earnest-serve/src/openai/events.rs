//! Server-sent events, cut out of a stream: lines may end in any of the three ways that the standard has, and an event
//! ends with an empty line. A byte is looked at once.

use bytes::{Bytes, BytesMut};

/// Bytes of one event at most: an answer in one piece may have as many.
pub const EVENT: usize = 64 << 20;

/// Cuts what comes into events.
#[derive(Default)]
pub struct Events {
    buffer: BytesMut,
    seen: usize,
    /// Something came already: a byte order mark may stand before it.
    begun: bool,
}

/// An event is too long: it is none.
#[derive(Debug, PartialEq, Eq)]
pub struct TooLong;

impl Events {
    /// More bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
        if !self.begun && self.buffer.len() >= 3 {
            self.begun = true;
            if self.buffer.starts_with(b"\xef\xbb\xbf") {
                let _ = self.buffer.split_to(3);
                self.seen = 0;
            }
        }
    }

    /// Bytes that are held.
    pub fn held(&self) -> usize {
        self.buffer.len()
    }

    /// Takes the next whole event, its empty line included.
    pub fn take(&mut self) -> Result<Option<Bytes>, TooLong> {
        loop {
            let Some(at) = memchr::memchr2(b'\n', b'\r', &self.buffer[self.seen..]) else {
                self.seen = self.buffer.len();
                break;
            };
            let line = self.seen + at;
            self.seen = line;
            let Some(next) = after(&self.buffer, line) else { break };
            // Two ends of lines, one after the other.
            let end = match self.buffer.get(next) {
                Some(b'\n' | b'\r') => match after(&self.buffer, next) {
                    Some(end) => end,
                    // A carriage return at the end of what is there: a line feed may follow, and belongs to it.
                    None => next + 1,
                },
                Some(_) => {
                    self.seen = next;
                    continue;
                }
                None => break, // what follows decides
            };
            if end > self.buffer.len() {
                break;
            }
            self.seen = 0;
            return Ok(Some(self.buffer.split_to(end).freeze()));
        }
        if self.buffer.len() > EVENT { Err(TooLong) } else { Ok(None) }
    }

    /// What came after the last event: the last one, where the stream ended without its empty line.
    pub fn rest(&mut self) -> Bytes {
        self.seen = 0;
        self.buffer.split().freeze()
    }
}

/// Where the line behind an end of line begins; none where that cannot be told yet.
fn after(bytes: &[u8], end: usize) -> Option<usize> {
    match (bytes[end], bytes.get(end + 1)) {
        (b'\r', Some(b'\n')) => Some(end + 2),
        (b'\r', None) => None,
        _ => Some(end + 1),
    }
}

/// The lines of an event.
pub fn lines(event: &[u8]) -> impl Iterator<Item = &[u8]> {
    event.split(|byte| *byte == b'\n' || *byte == b'\r').filter(|line| !line.is_empty())
}

/// The data of an event: its `data:` lines, joined, without what is blank around it. None: a comment, or an event without.
pub fn data_of(event: &[u8]) -> Option<std::borrow::Cow<'_, [u8]>> {
    let mut data: Option<std::borrow::Cow<'_, [u8]>> = None;
    for line in lines(event) {
        let Some(value) = line.strip_prefix(b"data:") else { continue };
        let value = value.trim_ascii();
        match &mut data {
            Some(data) => {
                let data = data.to_mut();
                data.push(b'\n');
                data.extend_from_slice(value);
            }
            None => data = Some(value.into()),
        }
    }
    data.filter(|data| !data.is_empty())
}

/// Whether bytes begin as events do, whatever they are labelled.
pub fn begins_as_events(bytes: &[u8]) -> bool {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes).trim_ascii_start();
    [&b"data:"[..], b"event:", b"id:", b"retry:", b":"].iter().any(|start| bytes.starts_with(start))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_byte_is_looked_at_once() {
        let mut events = Events::default();
        for piece in ["\u{feff}da", "ta: ", "long", "er"] {
            events.push(piece.as_bytes());
            assert_eq!((events.take(), events.seen), (Ok(None), events.held()), "{piece}");
        }
        events.push(b"\r");
        assert_eq!((events.take(), events.seen), (Ok(None), events.held() - 1), "what follows decides");
        events.push(b"\n\r\nda");
        assert_eq!(events.take().unwrap().unwrap(), "data: longer\r\n\r\n");
        assert_eq!((events.take(), events.seen), (Ok(None), 2));
    }

    #[test]
    fn events_are_cut_wherever_the_pieces_end_and_however_lines_do() {
        let plain = "data: a\n\n: comment\n\ndata: b\n\nevent: x\ndata: c\ndata: d\n\ndata: rest";
        for text in [
            plain.to_owned(),
            plain.replace('\n', "\r\n"),
            plain.replace('\n', "\r"),
            format!("\u{feff}{plain}"),
        ] {
            for size in 1..text.len() {
                let mut events = Events::default();
                let mut all = Vec::new();
                for piece in text.as_bytes().chunks(size) {
                    events.push(piece);
                    while let Some(event) = events.take().unwrap() {
                        all.push(event);
                    }
                }
                let data: Vec<_> =
                    all.iter().filter_map(|event| data_of(event)).map(|data| data.to_vec()).collect();
                assert_eq!(data, [&b"a"[..], b"b", b"c\nd"], "pieces of {size} of {text:?}");
                assert_eq!(events.rest().trim_ascii(), b"data: rest");
            }
        }
    }

    #[test]
    fn what_is_blank_is_nothing() {
        assert_eq!(data_of(b"data:\n\n"), None);
        assert_eq!(data_of(b"data: [DONE] \n\n").as_deref(), Some(&b"[DONE]"[..]));
        assert_eq!(data_of(b"data: [DONE]").as_deref(), Some(&b"[DONE]"[..]));
        assert_eq!(data_of(b": a comment\n\n"), None);
        assert!(
            begins_as_events(b"\n data: {}")
                && begins_as_events(b": hello")
                && !begins_as_events(b"{\"data\":1}")
        );
    }

    #[test]
    fn an_event_without_an_end_is_not_kept_for_ever() {
        let mut events = Events::default();
        for _ in 0..64 {
            events.push(&vec![b'x'; 1 << 20]);
        }
        assert_eq!(events.take(), Ok(None));
        events.push(b"x");
        assert_eq!(events.take(), Err(TooLong));
    }
}
