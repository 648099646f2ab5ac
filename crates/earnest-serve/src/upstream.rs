//! An upstream: an OpenAI-compatible server that a gateway or a provider asks. Its base may have a query
//! (`…/deployments/x?api-version=2024-10-21`), which stands behind whatever path is asked for.

use std::error::Error as StdError;
use std::time::Duration;

use axum::http::request::{Builder, Request};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body_util::Full;
use hyper_rustls::{HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use percent_encoding::percent_decode_str;
use reqwest::Url;
use thiserror::Error;
use tokio::net::TcpStream;
use tower::BoxError;
use tower::timeout::Timeout;
use tower::timeout::error::Elapsed;
use tower::util::BoxCloneSyncService;

use crate::openai::Endpoint;

/// How long a TCP connection may take.
const CONNECTING: Duration = Duration::from_secs(5);
/// The same with TLS over it.
const SECURING: Duration = Duration::from_secs(10);
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

/// The innermost cause says it; the outer ones say only that something failed.
pub fn innermost(error: &(dyn StdError + 'static)) -> String {
    let mut cause = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    if cause.is::<Elapsed>() {
        return format!("no connection in {} s", SECURING.as_secs());
    }
    cause.to_string()
}

/// What to look at where nobody answers.
pub fn hint_of_silence(base: &Url) -> &'static str {
    match base.scheme() {
        "https" => "does its server run there, with a certificate that this system trusts, or is it http?",
        _ => "does its server run there?",
    }
}

/// What to look at where the answer is a refusal.
pub fn hint_of_status(status: StatusCode) -> Option<&'static str> {
    match status.as_u16() {
        401 | 403 => Some(
            "--upstream-key-env names the variable with its key; key_env does for a model with a url of its own",
        ),
        404 | 405 => Some("is it the base of an OpenAI-compatible server, with /v1 at its end?"),
        _ => None,
    }
}

/// Where it is asked, and what it is shown.
#[derive(Clone, Debug)]
pub struct Upstream {
    /// What can be shown of its base.
    base: Url,
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
        Ok(Upstream { base: self::shown(base), endpoints, models: uri("/models")?, shown })
    }

    /// A request to be completed.
    pub fn post(&self, endpoint: Endpoint) -> Builder {
        self.show(Request::post(&self.endpoints[endpoint as usize]))
    }

    /// Asks for its list of models.
    pub fn models(&self) -> Builder {
        self.show(Request::get(&self.models))
    }

    /// Why it did not answer, in full, for whoever runs it: nothing of this is a client's to know.
    pub fn unanswered(&self, error: &legacy::Error) -> String {
        let (base, why) = (&self.base, innermost(error));
        if error.is_connect() {
            let hint = hint_of_silence(base);
            return format!("the upstream {base} cannot be reached: {why}\n  hint: {hint}");
        }
        let hint = match base.scheme() {
            "http" => "did its server end, or is it https?",
            _ => "did its server end?",
        };
        format!("the upstream {base} did not answer: {why}\n  hint: {hint}")
    }

    /// The same where nothing came in time.
    pub fn silent(&self, patience: Duration) -> String {
        let base = &self.base;
        format!(
            "the upstream {base} did not begin to answer in {} s\n  hint: {}",
            patience.as_secs(),
            hint_of_silence(base)
        )
    }

    /// What it answered in place of an answer, and why, as far as it said.
    pub fn refused(&self, path: &str, status: StatusCode, reason: Option<&str>) -> String {
        let (at, reason) = (upstream_url(&self.base, path), reason.unwrap_or("it did not say why"));
        let hint = hint_of_status(status).map(|hint| format!("\n  hint: {hint}")).unwrap_or_default();
        format!("the upstream answered {status} at {at}: {reason}{hint}")
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
pub type Client = legacy::Client<Connector, Full<Bytes>>;
type Connector = BoxCloneSyncService<Uri, MaybeHttpsStream<TokioIo<TcpStream>>, BoxError>;

/// One for a thread: its connections are served where they are used.
pub fn client() -> std::io::Result<Client> {
    client_within(SECURING)
}

/// A server that is no TLS may take a handshake and say nothing: the connection as a whole has a bound.
fn client_within(securing: Duration) -> std::io::Result<Client> {
    let mut http = HttpConnector::new();
    http.set_nodelay(true);
    http.set_connect_timeout(Some(CONNECTING));
    http.enforce_http(false); // or it would refuse to be the lower half of https
    let https = HttpsConnectorBuilder::new().try_with_platform_verifier().map_err(std::io::Error::other)?;
    let https = https.https_or_http().enable_http1().wrap_connector(http);
    let mut client = legacy::Client::builder(TokioExecutor::new());
    client.pool_timer(TokioTimer::new()).pool_max_idle_per_host(KEPT);
    Ok(client.build(BoxCloneSyncService::new(Timeout::new(https, securing))))
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

    fn at(base: &str) -> Upstream {
        Upstream::new(&upstream_base(base).unwrap(), Some("sk-secret"), &HeaderMap::new()).unwrap()
    }

    async fn asked(upstream: &Upstream, bound: Duration) -> legacy::Error {
        let request = upstream.post(Endpoint::Chat).body(Full::default()).unwrap();
        client_within(bound).unwrap().request(request).await.unwrap_err()
    }

    #[tokio::test]
    async fn a_server_that_takes_the_connection_and_says_nothing_is_not_waited_for() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let upstream = at(&format!("https://{}/v1", listener.local_addr().unwrap()));
        let held = tokio::spawn(async move { (listener.accept().await, std::future::pending::<()>().await) });
        let asking = asked(&upstream, Duration::from_millis(100));
        let error = tokio::time::timeout(Duration::from_secs(5), asking).await.expect("a bound");
        assert!(error.is_connect(), "{error:?}");
        let told = upstream.unanswered(&error);
        assert!(told.contains("no connection in") && told.contains("or is it http?"), "{told}");
        held.abort();
    }

    #[tokio::test]
    async fn what_is_wrong_is_told_in_full_and_without_secrets() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let upstream = at(&format!("http://name:password@127.0.0.1:{port}/v1?token=secret"));
        let told = upstream.unanswered(&asked(&upstream, SECURING).await);
        let expected =
            format!("the upstream http://127.0.0.1:{port}/v1 cannot be reached: Connection refused");
        assert!(told.starts_with(&expected), "{told}");
        assert!(told.ends_with("\n  hint: does its server run there?"), "{told}");
        for (status, reason, hint) in [
            (401, None, Some("--upstream-key-env")),
            (404, Some("Not Found"), Some("/v1 at its end")),
            (500, Some("boom"), None),
        ] {
            let status = StatusCode::from_u16(status).unwrap();
            let told = upstream.refused("/chat/completions", status, reason);
            let at = format!("answered {status} at http://127.0.0.1:{port}/v1/chat/completions: ");
            assert!(told.contains(&at) && told.contains(reason.unwrap_or("it did not say why")), "{told}");
            assert_eq!(told.contains("hint: "), hint.is_some(), "{told}");
            assert!(told.contains(hint.unwrap_or_default()), "{told}");
            assert!(!["name:", "password", "secret"].iter().any(|word| told.contains(word)), "{told}");
        }
    }
}
