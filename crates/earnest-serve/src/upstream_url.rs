//! Where an upstream is asked. Its base may have a query (`…/deployments/x?api-version=2024-10-21`), which stands behind
//! whatever path is asked for.

use reqwest::Url;
use thiserror::Error;

/// A URL that is no base of an upstream.
#[derive(Debug, Error, PartialEq, Eq)]
#[error(
    "{0:?} is not the base URL of an upstream\n  hint: http://HOST/PATH or https://HOST/PATH is, such as http://localhost:11434/v1; a query may follow"
)]
pub struct NoBase(String);

/// A base, as it is configured.
pub fn upstream_base(text: &str) -> Result<Url, NoBase> {
    let base: Url = text.trim().parse().map_err(|_| NoBase(text.into()))?;
    if ["http", "https"].contains(&base.scheme()) && base.has_host() && base.fragment().is_none() {
        return Ok(base);
    }
    Err(NoBase(text.into()))
}

/// Where a path such as `/chat/completions` is asked.
pub fn upstream_url(base: &Url, path: &str) -> Url {
    let mut url = base.clone();
    url.set_path(&format!("{}{path}", base.path().trim_end_matches('/')));
    url
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_stands_before_the_query_of_its_base() {
        for (base, expected) in [
            ("http://localhost:11434/v1", "http://localhost:11434/v1/models"),
            ("http://localhost:11434/v1/", "http://localhost:11434/v1/models"),
            ("http://localhost:11434", "http://localhost:11434/models"),
            (
                "https://x.openai.azure.com/openai/deployments/y?api-version=2024-10-21",
                "https://x.openai.azure.com/openai/deployments/y/models?api-version=2024-10-21",
            ),
            ("https://h/a%20b/?k=v%2Fw&l", "https://h/a%20b/models?k=v%2Fw&l"),
        ] {
            let base = upstream_base(base).unwrap();
            assert_eq!(upstream_url(&base, "/models").as_str(), expected);
        }
        for none in ["", "localhost:11434", "ftp://host/v1", "http://host/v1#part", "/v1", "data:x"] {
            assert!(upstream_base(none).is_err(), "{none}");
        }
    }
}
