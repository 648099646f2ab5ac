//! Scripts and styles, as they lie beside this file. Each has a tag made of its bytes, so a browser keeps it until it
//! changes.

use axum::extract::Path;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use sha2::{Digest, Sha256};

use super::Problem;

/// Everything a page loads: name, kind, bytes.
const ASSETS: [(&str, &str, &str); 10] = [
    ("report.css", "text/css; charset=utf-8", earnest_report::page::STYLE),
    ("portal.css", "text/css; charset=utf-8", include_str!("portal.css")),
    ("live.js", "text/javascript; charset=utf-8", include_str!("live.js")),
    ("wallet.js", "text/javascript; charset=utf-8", include_str!("wallet.js")),
    ("act.js", "text/javascript; charset=utf-8", include_str!("act.js")),
    ("bid.js", "text/javascript; charset=utf-8", include_str!("bid.js")),
    ("ask.js", "text/javascript; charset=utf-8", include_str!("ask.js")),
    ("key.js", "text/javascript; charset=utf-8", include_str!("key.js")),
    ("usage.js", "text/javascript; charset=utf-8", include_str!("usage.js")),
    ("providers.js", "text/javascript; charset=utf-8", include_str!("providers.js")),
];
const ICON: &str = include_str!("icon.svg");

/// One of them.
pub(super) async fn get(Path(name): Path<String>, headers: HeaderMap) -> Response {
    match ASSETS.iter().find(|(known, ..)| *known == name) {
        Some((_, kind, text)) => file(kind, text, &headers),
        None => Problem::missing("There is no such file.").into_response(),
    }
}

/// The mark in a browser's tab.
pub(super) async fn icon(headers: HeaderMap) -> Response {
    file("image/svg+xml", ICON, &headers)
}

fn file(kind: &'static str, text: &'static str, headers: &HeaderMap) -> Response {
    let digest = Sha256::digest(text.as_bytes());
    let tag = format!("\"{}\"", alloy_primitives::hex::encode(&digest[..12]));
    let known = headers.get(IF_NONE_MATCH).is_some_and(|tags| tags.as_bytes() == tag.as_bytes());
    let caching = [(ETAG, tag), (CACHE_CONTROL, "public, max-age=0, must-revalidate".to_owned())];
    match known {
        true => (StatusCode::NOT_MODIFIED, caching).into_response(),
        false => (caching, [(CONTENT_TYPE, kind)], text).into_response(),
    }
}
