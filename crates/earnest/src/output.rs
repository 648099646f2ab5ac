//! Small things about how values are shown and read on the command line.

/// Thousands set apart by commas, decimals left alone.
pub fn grouped(number: &str) -> String {
    let (whole, part) = number.split_once('.').map_or((number, None), |(whole, part)| (whole, Some(part)));
    let mut out = String::new();
    for (index, digit) in whole.chars().enumerate() {
        if index > 0 && (whole.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    part.map_or(out.clone(), |part| format!("{out}.{part}"))
}

/// An ISO 3166-1 alpha-2 code as a permit carries it: its two letters in 16 bits; 0 for anything else.
pub fn jurisdiction_code(code: &str) -> u16 {
    match code.as_bytes() {
        [first, second] => u16::from_be_bytes([*first, *second]),
        _ => 0,
    }
}
