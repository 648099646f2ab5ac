//! An upstream: an OpenAI-compatible server that a gateway or a provider asks. Its base may have a query
//! (`…/deployments/x?api-version=2024-10-21`), which stands behind whatever path is asked for.

use std::time::Duration;

use axum::http::request::{Builder, Request};
use axum::http::{HeaderMap, HeaderValue, Uri, header};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body_util::Full;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use percent_encoding::percent_decode_str;
use reqwest::Url;
use thiserror::Error;

use crate::openai::Endpoint;

/// How long a connection may take.
const CONNECTING: Duration = Duration::from_secs(5);
/// Connections that are kept for the next request.
const KEPT: usize = 1_024;

/// What cannot be asked, or shown.
#[derive(Debug, Error, PartialEq, Eq)]
#[expect(missing_docs, reason = "the message says it")]
pub enum NoUpstream {
    #[error(
        "{0:?} is not the base URL of an upstream\n  hint: http://HOST/PATH or https://HOST/PATH is, such as http://localhost:11434/v1; a query may follow"
    )]
    Base(String),
    #[error("the upstream's key is not plain text")]
    Key,
}

/// A base, as it is configured.
pub fn upstream_base(text: &str) -> Result<Url, NoUpstream> {
    let base: Url = text.trim().parse().map_err(|_| NoUpstream::Base(text.into()))?;
    if ["http", "https"].contains(&base.scheme()) && base.has_host() && base.fragment().is_none() {
        return Ok(base);
    }
    Err(NoUpstream::Base(text.into()))
}

/// Where a path such as `/chat/completions` is asked.
fn upstream_url(base: &Url, path: &str) -> Url {
    let mut url = base.clone();
    url.set_path(&format!("{}{path}", base.path().trim_end_matches('/')));
    url
}

/// A URL as it can be shown to anyone: without what may be secret.
pub fn shown(url: &Url) -> Url {
    let mut shown = nameless(url);
    shown.set_query(None);
    shown
}

/// Without a name and a password.
fn nameless(url: &Url) -> Url {
    let mut plain = url.clone();
    // A URL that has a host can be without them.
    let _ = (plain.set_username(""), plain.set_password(None));
    plain
}

/// Where it is asked, and what it is shown.
#[derive(Clone, Debug)]
pub struct Upstream {
    endpoints: [Uri; Endpoint::ALL.len()],
    models: Uri,
    shown: HeaderMap,
}

impl Upstream {
    /// At a base. It is shown its key as a bearer, or the name and the password in its URL, and what else was given, which
    /// counts more.
    pub fn new(base: &Url, key: Option<&str>, headers: &HeaderMap) -> Result<Self, NoUpstream> {
        let mut shown = HeaderMap::new();
        if let Some(authorization) = authorization(base, key)? {
            shown.insert(header::AUTHORIZATION, authorization);
        }
        for name in headers.keys() {
            shown.remove(name);
        }
        shown.extend(headers.clone());
        let plain = nameless(base);
        let uri = |path: &str| {
            let url = upstream_url(&plain, path);
            url.as_str().parse::<Uri>().map_err(|_| NoUpstream::Base(plain.to_string()))
        };
        let [chat, completions, embeddings, responses] = Endpoint::ALL.map(|endpoint| uri(endpoint.path()));
        let endpoints = [chat?, completions?, embeddings?, responses?];
        Ok(Upstream { endpoints, models: uri("/models")?, shown })
    }

    /// A request to be completed.
    pub fn post(&self, endpoint: Endpoint) -> Builder {
        self.show(Request::post(&self.endpoints[endpoint as usize]))
    }

    /// Asks for its list of models.
    pub fn models(&self) -> Builder {
        self.show(Request::get(&self.models))
    }

    fn show(&self, request: Builder) -> Builder {
        let mut request = request.header(header::ACCEPT_ENCODING, "identity");
        if let Some(headers) = request.headers_mut() {
            headers.extend(self.shown.clone());
        }
        request
    }
}

fn authorization(base: &Url, key: Option<&str>) -> Result<Option<HeaderValue>, NoUpstream> {
    let plain = |text: &str| percent_decode_str(text).collect::<Vec<u8>>();
    let text = match (key, base.username(), base.password()) {
        (Some(key), _, _) => format!("Bearer {key}"),
        (None, "", None) => return Ok(None),
        (None, name, password) => {
            let both = [&plain(name)[..], b":", &plain(password.unwrap_or_default())].concat();
            format!("Basic {}", STANDARD.encode(both))
        }
    };
    let mut value = HeaderValue::from_str(&text).map_err(|_| NoUpstream::Key)?;
    value.set_sensitive(true);
    Ok(Some(value))
}

/// What asks: it follows no redirect, and asks no proxy of the environment.
pub type Client = legacy::Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

/// One for a thread: its connections are served where they are used.
pub fn client() -> std::io::Result<Client> {
    let mut http = HttpConnector::new();
    http.set_nodelay(true);
    http.set_connect_timeout(Some(CONNECTING));
    http.enforce_http(false); // or it would refuse to be the lower half of https
    let https = HttpsConnectorBuilder::new().try_with_platform_verifier().map_err(std::io::Error::other)?;
    let https = https.https_or_http().enable_http1().wrap_connector(http);
    let mut client = legacy::Client::builder(TokioExecutor::new());
    client.pool_timer(TokioTimer::new()).pool_max_idle_per_host(KEPT);
    Ok(client.build(https))
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

    #[test]
    fn it_is_shown_its_key_or_what_stands_in_its_url_and_what_else_is_given() {
        let shown = |base: &str, key: Option<&str>, more: &[(&'static str, &str)]| {
            let more = more.iter().map(|(name, value)| ((*name).try_into().unwrap(), value.parse().unwrap()));
            let upstream = Upstream::new(&upstream_base(base).unwrap(), key, &more.collect()).unwrap();
            let request = upstream.post(Endpoint::Chat).body(()).unwrap();
            let values = request.headers().get_all(header::AUTHORIZATION).iter();
            let values: Vec<_> = values.map(|value| value.to_str().unwrap().to_owned()).collect();
            (request.uri().to_string(), values)
        };
        for (base, key, more, expected) in [
            ("http://h/v1", None, &[][..], None),
            ("http://h/v1", Some("sk-1"), &[], Some("Bearer sk-1")),
            ("http://a%40b:p%3Aq@h/v1", None, &[], Some("Basic YUBiOnA6cQ==")),
            ("http://a@h/v1", None, &[], Some("Basic YTo=")),
            ("http://a:b@h/v1", Some("sk-1"), &[], Some("Bearer sk-1")),
            ("http://a:b@h/v1", Some("sk-1"), &[("authorization", "Token t")], Some("Token t")),
            ("http://h/v1", None, &[("api-key", "k")], None),
        ] {
            let expected = expected.map(str::to_owned).into_iter().collect();
            assert_eq!(shown(base, key, more), ("http://h/v1/chat/completions".into(), expected), "{base}");
        }
        let base = upstream_base("http://h").unwrap();
        assert_eq!(Upstream::new(&base, Some("a\nb"), &HeaderMap::new()).unwrap_err(), NoUpstream::Key);
    }
}
