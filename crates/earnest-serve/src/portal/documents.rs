//! The papers behind the terms. What is served is exactly what the plan's hash names, or nothing.

use std::path::{Component, Path as FilePath};
use std::sync::Arc;

use alloy_primitives::hex;
use axum::extract::{Path, State};
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use earnest_core::plan::{Document, Plan};
use earnest_report::page::markup::escape;
use sha2::{Digest, Sha256};

use super::page::quoted;
use super::{At, Problem, Shared};

/// A document, read once.
pub(super) struct Paper {
    bytes: Result<Arc<[u8]>, &'static str>,
    kind: &'static str,
    file_name: String,
}

/// Reads them all: a file that changes later is not what the plan names.
pub(super) fn papers(plan: &Plan, folder: &FilePath) -> Vec<Paper> {
    plan.documents.iter().map(|document| paper(document, folder)).collect()
}

fn paper(document: &Document, folder: &FilePath) -> Paper {
    let Some(file) = &document.file else {
        let bytes = Err("The plan gives its hash and no file: ask the issuer for it.");
        return Paper { bytes, kind: "", file_name: String::new() };
    };
    let path = FilePath::new(file);
    // A plan is someone else's text: it names files beside itself and nowhere else.
    let stays_inside = path.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
    let bytes = match stays_inside.then(|| std::fs::read(folder.join(path))) {
        Some(Ok(bytes)) if Sha256::digest(&bytes)[..] == document.sha256[..] => Ok(bytes.into()),
        Some(Ok(_)) => Err("The file here is not the one that the plan's hash names, so it is not served."),
        _ => Err("The file is not here: ask the issuer for it."),
    };
    let kind = match path.extension().and_then(|end| end.to_str()) {
        Some("pdf") => "application/pdf",
        Some("txt" | "md") => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    };
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or("document");
    let safe = |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '_' };
    Paper { bytes, kind, file_name: name.chars().map(safe).collect() }
}

/// The list of a plan's documents.
pub(super) fn list(shared: &Shared) -> String {
    let mut html = String::from("<ul class=\"documents\">\n");
    for (i, (document, paper)) in shared.plan.documents.iter().zip(&shared.papers).enumerate() {
        let name = quoted(&document.name);
        let (name, note) = match &paper.bytes {
            Ok(bytes) => (
                format!("<a href=\"/document/{i}\">{name}</a>"),
                format!("{} bytes, exactly those of the hash.", bytes.len()),
            ),
            Err(why) => (name, (*why).to_owned()),
        };
        html += &format!(
            "<li>{name} <span class=\"quiet\">({})</span><br><code>sha256 {}</code><br><span class=\"quiet\">{}</span></li>\n",
            document.kind.word().replace('-', " "),
            hex::encode(document.sha256),
            escape(&note)
        );
    }
    html + "</ul>\n"
}

/// One document's bytes.
pub(super) async fn get(State(shared): At, Path(index): Path<usize>) -> Response {
    let Some(paper) = shared.papers.get(index) else {
        return Problem::missing("The plan has no such document.").into_response();
    };
    match &paper.bytes {
        Err(why) => Problem::missing(*why).into_response(),
        Ok(bytes) => {
            let how = if paper.kind == "application/octet-stream" { "attachment" } else { "inline" };
            let headers = [
                (CONTENT_TYPE, paper.kind.to_owned()),
                (CONTENT_DISPOSITION, format!("{how}; filename=\"{}\"", paper.file_name)),
                (CONTENT_SECURITY_POLICY, "default-src 'none'; sandbox; frame-ancestors 'none'".to_owned()),
            ];
            (headers, bytes.to_vec()).into_response()
        }
    }
}
