//! Who may speak to a server on this machine. Any page in the browser can send requests here, and by pointing a name of
//! its own at 127.0.0.1 (DNS rebinding) even read the answers: so the `Host` must be ours, and a page must be ours, too.

use axum::http::{HeaderMap, HeaderValue, Method, Response, StatusCode, Uri, header, request::Parts};

/// Pages of browser extensions: wallets. They may use the JSON-RPC, and nothing else.
const EXTENSIONS: [&str; 3] = ["chrome-extension://", "moz-extension://", "safari-web-extension://"];

/// The names under which the server is reached.
#[derive(Clone, Debug)]
pub struct Guard {
    port: u16,
    names: Vec<String>,
}

/// Why a request is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// No `Host`, several, or one that is not ours.
    Host,
    /// A page of someone else's.
    Origin,
}

impl Refusal {
    /// For people who read it in a log.
    pub fn message(self) -> &'static str {
        match self {
            Refusal::Host => "this host name is not allowed\n  hint: earnest up --host NAME allows one\n",
            Refusal::Origin => {
                "pages of this origin are not allowed\n  hint: earnest up --host NAME allows one\n"
            }
        }
    }
}

impl Guard {
    /// Lets in `localhost`, `127.0.0.1` and `[::1]` with the server's port, and more names with any port or, where they
    /// carry one, with just that.
    pub fn new(port: u16, names: &[String]) -> Self {
        Guard { port, names: names.iter().map(|name| name.to_ascii_lowercase()).collect() }
    }

    /// Whether a request may come in. What it answers is the origin to be told to the browser, if there is one.
    pub fn check(&self, request: &Parts) -> Result<Option<HeaderValue>, Refusal> {
        let hosts: Vec<&HeaderValue> = request.headers.get_all(header::HOST).iter().collect();
        let [host] = hosts[..] else { return Err(Refusal::Host) };
        let host = host.to_str().map_err(|_| Refusal::Host)?;
        if !self.names_us(host) || !request.uri.authority().is_none_or(|named| self.names_us(named.as_str()))
        {
            return Err(Refusal::Host);
        }
        let Some(origin) = request.headers.get(header::ORIGIN) else {
            return Ok(None); // not a page, or one of ours that only reads
        };
        let text = origin.to_str().map_err(|_| Refusal::Origin)?;
        let wallet = request.uri.path() == "/" && EXTENSIONS.iter().any(|scheme| text.starts_with(scheme));
        if wallet || self.is_ours(text) {
            return Ok(Some(origin.clone()));
        }
        Err(Refusal::Origin)
    }

    /// `scheme://name:port` of a page of ours. What a sandboxed page or a file says, `null`, is not.
    fn is_ours(&self, origin: &str) -> bool {
        let Ok(uri) = origin.parse::<Uri>() else { return false };
        let (Some("http" | "https"), Some(host)) = (uri.scheme_str(), uri.authority()) else { return false };
        uri.path().trim_matches('/').is_empty() && self.names_us(host.as_str())
    }

    fn names_us(&self, host: &str) -> bool {
        let host = host.to_ascii_lowercase();
        // The colon of a port comes after the bracket of an IPv6 address.
        let (name, port) = match host.rsplit_once(':') {
            Some((name, port)) if !port.contains(']') => (name, port.parse::<u16>().ok()),
            Some(_) | None => (host.as_str(), Some(80)),
        };
        let loopback = ["localhost", "127.0.0.1", "[::1]"].contains(&name) && port == Some(self.port);
        loopback || self.names.iter().any(|allowed| *allowed == host || (*allowed == name && port.is_some()))
    }
}

/// Answers a browser that asks whether it may ask.
pub(crate) fn preflight(request: &Parts) -> Option<Response<axum::body::Body>> {
    let asks = request.method == Method::OPTIONS
        && request.headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
    if !asks {
        return None;
    }
    let mut response = Response::new(axum::body::Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, POST"));
    headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static("content-type"));
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
    headers.insert("access-control-allow-private-network", HeaderValue::from_static("true"));
    Some(response)
}

/// Tells the browser that a page of this origin may read the answer.
pub(crate) fn allow(headers: &mut HeaderMap, origin: Option<HeaderValue>) {
    headers.append(header::VARY, HeaderValue::from_static("origin"));
    if let Some(origin) = origin {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(path: &str, headers: &[(&str, &str)]) -> Result<bool, Refusal> {
        let mut request = axum::http::Request::builder().uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let guard = Guard::new(8545, &["Earnest.example".into(), "localhost:5173".into()]);
        guard.check(&request.body(()).expect("a request").into_parts().0).map(|origin| origin.is_some())
    }

    #[test]
    fn only_our_own_names_are_let_in() {
        for host in [
            "localhost:8545",
            "127.0.0.1:8545",
            "[::1]:8545",
            "LocalHost:8545",
            "earnest.example",
            "earnest.example:444",
        ] {
            assert_eq!(asked("/", &[("host", host)]), Ok(false), "{host}");
        }
        for host in [
            "localhost",
            "localhost:80",
            "127.0.0.1:8546",
            "[::1]",
            "evil.example:8545",
            "127.0.0.1.evil.example:8545",
            "localhost:8545:1",
            "",
            "localhost:",
            "127.0.0.1:08545x",
        ] {
            assert_eq!(asked("/", &[("host", host)]), Err(Refusal::Host), "{host}");
        }
        assert_eq!(asked("/", &[]), Err(Refusal::Host));
        assert_eq!(asked("/", &[("host", "localhost:8545"), ("host", "evil.example")]), Err(Refusal::Host));
        assert_eq!(asked("http://evil.example/", &[("host", "localhost:8545")]), Err(Refusal::Host));
    }

    #[test]
    fn only_our_own_pages_and_wallets_are_let_in() {
        let with = |path: &str, origin: &str| asked(path, &[("host", "localhost:8545"), ("origin", origin)]);
        for origin in [
            "http://localhost:8545",
            "http://127.0.0.1:8545",
            "https://earnest.example",
            "http://localhost:5173",
        ] {
            assert_eq!(with("/buy", origin), Ok(true), "{origin}");
        }
        for origin in [
            "http://localhost:3000",
            "https://evil.example",
            "null",
            "file://",
            "",
            "http://localhost:8545.evil.example",
            "http://earnest.example.evil.example",
            "http://localhost:8545@evil.example",
        ] {
            assert_eq!(with("/", origin), Err(Refusal::Origin), "{origin}");
        }
        assert_eq!(with("/", "chrome-extension://nkbihfbeogaeaoehlefnkodbefgpgknn"), Ok(true));
        assert_eq!(with("/buy", "chrome-extension://nkbihfbeogaeaoehlefnkodbefgpgknn"), Err(Refusal::Origin));
    }
}
