//! Its model tokens: words with the spaces before them, and signs one by one. Put together they are the text again.

/// Most letters of one, and most spaces.
const LONGEST: usize = 12;
/// Most model tokens of one request's answers together.
const MOST: u64 = 32_768;

/// The model tokens of a text, in order.
pub(super) fn words(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let end = first(rest);
        let (word, after) = rest.split_at(end);
        rest = after;
        (end > 0).then_some(word)
    })
}

/// Where the first one ends.
fn first(text: &str) -> usize {
    let (mut letters, mut spaces) = (0, 0);
    for (at, letter) in text.char_indices() {
        if letter.is_alphanumeric() {
            if letters == LONGEST {
                return at;
            }
            letters += 1;
        } else if letters > 0 {
            return at;
        } else if !letter.is_whitespace() {
            return at + letter.len_utf8();
        } else if spaces == LONGEST {
            return at;
        } else {
            spaces += 1;
        }
    }
    text.len()
}

/// How many a text has.
pub(super) fn count(text: &str) -> u64 {
    words(text).count() as u64
}

/// How many one of so many answers can have.
pub(super) fn limit(asked: Option<u64>, answers: usize) -> u64 {
    let most = (MOST / answers.max(1) as u64).max(1);
    asked.map_or(most, |asked| asked.min(most))
}

/// Why writing ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// It was all.
    Stop,
    /// It was as much as was asked for.
    Length,
}

/// A text, cut into its model tokens.
#[derive(Clone, Debug)]
pub(super) struct Written {
    text: String,
    ends: Vec<usize>,
    pub(super) end: End,
}

impl Written {
    /// Writes a text up to the first of `stop` and up to so many model tokens.
    pub(super) fn write(mut text: String, stop: &[String], most: u64) -> Self {
        let cut = stop.iter().filter(|stop| !stop.is_empty()).filter_map(|stop| text.find(stop.as_str()));
        if let Some(at) = cut.min() {
            text.truncate(at);
        }
        let mut ends: Vec<usize> = words(&text)
            .scan(0, |end, word| {
                *end += word.len();
                Some(*end)
            })
            .collect();
        let mut end = End::Stop;
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        if ends.len() > most {
            ends.truncate(most);
            text.truncate(ends.last().copied().unwrap_or(0));
            end = End::Length;
        }
        Written { text, ends, end }
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    pub(super) fn tokens(&self) -> usize {
        self.ends.len()
    }

    /// One of its model tokens.
    pub(super) fn token(&self, index: usize) -> &str {
        let from = index.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.text[from..self.ends[index]]
    }

    /// Where one begins, in characters.
    pub(super) fn offset(&self, index: usize) -> usize {
        let from = index.checked_sub(1).map_or(0, |before| self.ends[before]);
        self.text[..from].chars().count()
    }
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    #[test]
    fn words_keep_the_spaces_before_them() {
        let found: Vec<&str> = words("echo: Hi  there,\n you 123 ").collect();
        assert_eq!(found, ["echo", ":", " Hi", "  there", ",", "\n you", " 123", " "]);
        assert_eq!(words(&"x".repeat(30)).map(str::len).collect::<Vec<_>>(), [12, 12, 6]);
        assert_eq!(words(&" ".repeat(30)).map(str::len).collect::<Vec<_>>(), [12, 12, 6]);
        assert_eq!(words("").count(), 0);
    }

    #[test]
    fn any_text_is_its_words_put_together() {
        let mut random = ChaCha8Rng::seed_from_u64(6);
        for _ in 0..5_000 {
            let length = random.random_range(0..40);
            let letter = |random: &mut ChaCha8Rng| match random.random_range(0..4) {
                0 => ' ',
                1 => char::from(random.random_range(b'a'..=b'z')),
                _ => random.random(),
            };
            let text: String = (0..length).map(|_| letter(&mut random)).collect();
            assert_eq!(words(&text).collect::<String>(), text);
            let most = random.random_range(0..10);
            let written = Written::write(text.clone(), &["q".into()], most);
            let tokens: String = (0..written.tokens()).map(|index| written.token(index)).collect();
            assert_eq!(tokens, written.text());
            assert!(text.starts_with(written.text()) && !written.text().contains('q'));
            assert!(written.tokens() as u64 <= most);
            assert_eq!(written.tokens() as u64, count(written.text()));
        }
    }

    #[test]
    fn writing_ends_where_it_is_told_to() {
        let write = |stop: &[&str], most| {
            let stop: Vec<String> = stop.iter().map(ToString::to_string).collect();
            let written = Written::write("one two, three".into(), &stop, most);
            (written.text().to_string(), written.end)
        };
        assert_eq!(write(&[], 9), ("one two, three".into(), End::Stop));
        assert_eq!(write(&[], 4), ("one two, three".into(), End::Stop));
        assert_eq!(write(&[], 3), ("one two,".into(), End::Length));
        assert_eq!(write(&["three", "two"], 9), ("one ".into(), End::Stop));
        assert_eq!(write(&["two"], 1), ("one".into(), End::Length));
        assert_eq!(write(&[""], 0), (String::new(), End::Length));
    }
}
