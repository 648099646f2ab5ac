//! Finished reports of `earnest simulate`, served from a folder as they are. A report is a page of its own: it gets a
//! policy that lets it show itself and nothing else.

use std::path::Path as FilePath;

use axum::extract::{Path, Query, State};
use axum::http::header::CONTENT_SECURITY_POLICY;
use axum::response::{Html, IntoResponse, Response};
use earnest_report::page::markup::escape;

use super::page::Page;
use super::{At, Look, Problem, Shared, shown};

/// Styles of its own, pictures in itself; no script, no frame, no address to send anything to.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; sandbox; frame-ancestors 'none'; base-uri 'none'";
/// Larger files are no reports.
const MOST_BYTES: u64 = 16 << 20;
/// Most that are listed.
const MOST: usize = 200;

/// Names of the reports in a folder, in order: `NAME.html` for plain names.
fn names(folder: &FilePath) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let name = |entry: std::fs::DirEntry| {
        let name = entry.file_name().into_string().ok()?.strip_suffix(".html")?.to_owned();
        (is_plain(&name) && entry.file_type().ok()?.is_file()).then_some(name)
    };
    let mut names: Vec<String> = entries.filter_map(|entry| name(entry.ok()?)).collect();
    names.sort();
    names.truncate(MOST);
    names
}

/// A name that stays in its folder and in an address.
fn is_plain(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
}

/// The list.
pub(super) async fn list(at: At, look: Query<Look>) -> Response {
    shown(at, look, |shared, _, _| Some(page(shared)))
}

fn page(shared: &Shared) -> Page {
    let mut html = String::from(
        "<p>What the issuer's studies compared before anything was sold: ways to fund the same lab under the same \
         futures. They follow from what each study believes, are no forecast, and no verdict on any law.</p>\n",
    );
    let names = shared.reports.as_deref().map(names).unwrap_or_default();
    if names.is_empty() {
        html += "<p>There is no report here. <code>earnest simulate STUDY --html FILE</code> writes one, and \
                 <code>earnest up --reports FOLDER</code> serves a folder of them.</p>\n";
    } else {
        html += "<ul>\n";
        for name in names {
            let name = escape(&name);
            html += &format!("<li><a href=\"/report/{name}\">{name}</a></li>\n");
        }
        html += "</ul>\n";
    }
    Page::new("Studies", "/reports").fixed("reports", html)
}

/// One report.
pub(super) async fn get(State(shared): At, Path(name): Path<String>) -> Response {
    let missing = || Problem::missing("There is no such report.").into_response();
    let Some(folder) = shared.reports.clone().filter(|_| is_plain(&name)) else { return missing() };
    let read = tokio::task::spawn_blocking(move || {
        let path = folder.join(format!("{name}.html"));
        // Not through a link: the folder is what was meant to be shown.
        let found = std::fs::symlink_metadata(&path).ok()?;
        if !found.is_file() || found.len() > MOST_BYTES {
            return None;
        }
        std::fs::read_to_string(path).ok()
    });
    match read.await {
        Ok(Some(html)) => ([(CONTENT_SECURITY_POLICY, POLICY)], Html(html)).into_response(),
        _ => missing(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_files_with_plain_names_are_reports() {
        let folder = std::env::temp_dir().join(format!("earnest-reports-{}", std::process::id()));
        std::fs::create_dir_all(folder.join("sub.html")).unwrap();
        for name in ["b.html", "a-1.html", "a b.html", "c.txt", ".html", "..html"] {
            std::fs::write(folder.join(name), "x").unwrap();
        }
        assert_eq!(names(&folder), ["a-1", "b"]);
        assert!(!is_plain("../a") && !is_plain("a.b") && !is_plain("") && is_plain("A_b-3"));
        std::fs::remove_dir_all(folder).unwrap();
    }
}
