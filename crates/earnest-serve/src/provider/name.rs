//! What a gateway is called. A provider signs the name that it dialled; the gateway takes it only if it is one of its
//! own. What a request says of its own way (`Host`) proves nothing: a relay that was dialled under another name would
//! send whatever the gateway wants to hear, and then read along.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;
use std::sync::{PoisonError, RwLock};

use reqwest::Url;
use thiserror::Error;

/// A host, with its port where it is not the usual one of `https` or `http`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name {
    host: String,
    port: Option<u16>,
}

/// A text that names no gateway.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("{0:?} is no name of a gateway\n  hint: HOST or HOST:PORT is, such as gateway.example")]
pub struct NoName(String);

impl FromStr for Name {
    type Err = NoName;

    fn from_str(text: &str) -> Result<Self, NoName> {
        let none = || NoName(text.chars().filter(|c| !c.is_control()).take(128).collect());
        // Case, Unicode and addresses have one form in a URL.
        let url = Url::parse(&format!("http://{text}/")).map_err(|_| none())?;
        let host = url.host_str().ok_or_else(none)?.to_owned();
        let nobody = url.username().is_empty() && url.password().is_none();
        if !nobody || url.path() != "/" || url.query().is_some() || url.fragment().is_some() {
            return Err(none());
        }
        // A URL forgets the port that is usual for it.
        Ok(Name { host, port: url.port().or(text.ends_with(":80").then_some(80)) })
    }
}

impl fmt::Display for Name {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            Some(port) => write!(out, "{}:{port}", self.host),
            None => out.write_str(&self.host),
        }
    }
}

impl Name {
    /// Whether both can mean the same: without a port, a name is that of `https` and of `http`.
    fn is(&self, other: &Name) -> bool {
        let usual = |port| [443, 80].contains(&port);
        let ports = match (self.port, other.port) {
            (Some(one), Some(other)) => one == other,
            (Some(port), None) | (None, Some(port)) => usual(port),
            (None, None) => true,
        };
        self.host == other.host && ports
    }
}

/// All names of one gateway. Its port may be known only once it listens.
#[derive(Debug, Default)]
pub struct Names(RwLock<Vec<Name>>);

impl Names {
    /// Those that were configured.
    pub fn of(configured: &[String]) -> Result<Self, NoName> {
        let names = configured.iter().map(|name| name.parse()).collect::<Result<_, _>>()?;
        Ok(Names(RwLock::new(names)))
    }

    /// It listens there, so whoever is on the same machine may call it so.
    pub fn listens_at(&self, address: SocketAddr) {
        let port = address.port();
        let here =
            ["127.0.0.1", "localhost", "[::1]"].map(|host| Name { host: host.into(), port: Some(port) });
        let address = address.to_string().parse();
        let mut names = self.0.write().unwrap_or_else(PoisonError::into_inner);
        for name in here.into_iter().chain(address) {
            if !names.contains(&name) {
                names.push(name);
            }
        }
    }

    /// Whether a gateway is called that.
    pub fn has(&self, name: &str) -> bool {
        let names = self.0.read().unwrap_or_else(PoisonError::into_inner);
        name.parse().is_ok_and(|name| names.iter().any(|own| own.is(&name)))
    }
}

impl fmt::Display for Names {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let names: Vec<String> = names.iter().map(Name::to_string).collect();
        match &names[..] {
            [] => out.write_str("without a name"),
            names => out.write_str(&names.join(", ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_compared_without_case_and_with_its_port() {
        let configured = ["Gateway.Example", "other.example:8443", "tls.example:443"].map(String::from);
        let names = Names::of(&configured).unwrap();
        names.listens_at("192.168.1.7:8546".parse().unwrap());
        for name in [
            "gateway.example",
            "GATEWAY.example:443",
            "gateway.example:80",
            "other.example:8443",
            "tls.example",
            "tls.example:443",
            "localhost:8546",
            "127.0.0.1:8546",
            "[::1]:8546",
            "[0:0:0:0:0:0:0:1]:8546",
            "192.168.1.7:8546",
        ] {
            assert!(names.has(name), "{name}");
        }
        for name in [
            "gateway.example:8443",
            "gateway.example.evil.example",
            "evil.example",
            "other.example",
            "tls.example:80",
            "localhost",
            "localhost:8547",
            "",
            "gateway.example/path",
            "user@gateway.example",
            "gateway.example?x",
            "gateway.example#x",
            "http://gateway.example",
        ] {
            assert!(!names.has(name), "{name}");
        }
        assert!(
            names
                .to_string()
                .starts_with("gateway.example, other.example:8443, tls.example:443, 127.0.0.1:8546")
        );
        assert!(Names::of(&["a b".into()]).is_err_and(|error| error.to_string().contains("hint: ")));
    }
}
