//! The gateway's side of dialling in: a challenge, a signed hello, and a connection that is turned round.

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use alloy_primitives::Address;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use earnest_core::money::Bps;
use hyper::upgrade::OnUpgrade;
use serde_json::json;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::hello::{Challenge, Hello, HelloError, Nonces, Realm};
use super::link_key::{Agreement, LinkKey};
use super::name::Names;
use super::roster::{Link, Roster};
use super::{CHALLENGE, DOOR, PROTOCOL};

/// How long a provider has from its hello to its first sign of life on the link.
const PATIENCE: Duration = Duration::from_secs(10);
/// Most that are between the two at once, and of one operator.
const MOST_AT_THE_DOOR: usize = 64;
const MOST_OF_ONE: usize = 8;

/// Who may dial in.
#[derive(Clone, Debug)]
pub enum Admission {
    /// Whoever signs: for development.
    Anyone,
    /// These operator keys.
    Only(BTreeSet<Address>),
}

/// Where providers come in. One gateway has one.
pub struct Doors {
    realm: Realm,
    names: Arc<Names>,
    admission: Admission,
    most_ask: u16,
    roster: Arc<Roster>,
    nonces: Nonces,
    agreement: Agreement,
    numbers: AtomicU64,
    waiting: Arc<Semaphore>,
    of_one: Mutex<HashMap<Address, usize>>,
}

/// A place at the door, given back when dropped.
struct AtTheDoor {
    doors: Arc<Doors>,
    provider: Address,
    _waiting: OwnedSemaphorePermit,
}

impl Drop for AtTheDoor {
    fn drop(&mut self) {
        let mut of_one = self.doors.of_one.lock().unwrap_or_else(PoisonError::into_inner);
        if let Entry::Occupied(mut count) = of_one.entry(self.provider) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }
}

impl Doors {
    /// For those who sign for this realm and one of the gateway's names, and ask at most so many basis points of the
    /// charge; who is let in stands in the roster.
    pub fn new(
        realm: Realm,
        names: Arc<Names>,
        admission: Admission,
        most_ask: u16,
        roster: Arc<Roster>,
    ) -> Arc<Self> {
        let waiting = Arc::new(Semaphore::new(MOST_AT_THE_DOOR));
        let (nonces, agreement, numbers) = (Nonces::default(), Agreement::default(), AtomicU64::new(1));
        let of_one = Mutex::default();
        Arc::new(Doors {
            realm,
            names,
            admission,
            most_ask,
            roster,
            nonces,
            agreement,
            numbers,
            waiting,
            of_one,
        })
    }

    fn hello(&self, headers: &HeaderMap) -> Result<(Hello, LinkKey), Refusal> {
        let hello = Hello::read(headers)?;
        self.nonces.check(hello.nonce())?;
        // Whether somebody is listed is told to those only who are somebody.
        let key = hello.check(&self.realm, &self.names, &self.agreement)?;
        if let Admission::Only(listed) = &self.admission
            && !listed.contains(&hello.provider)
        {
            return Err(Refusal::NotListed(hello.provider));
        }
        // It would be there, and never be asked.
        if hello.offer.ask > self.most_ask {
            return Err(Refusal::Dear(hello.offer.ask, self.most_ask));
        }
        self.nonces.spend(hello.nonce())?;
        Ok((hello, key))
    }

    /// A place for one who has signed: nobody fills the door alone.
    fn place(
        self: &Arc<Self>,
        provider: Address,
        waiting: OwnedSemaphorePermit,
    ) -> Result<AtTheDoor, Refusal> {
        let mut of_one = self.of_one.lock().unwrap_or_else(PoisonError::into_inner);
        let count = of_one.entry(provider).or_default();
        if *count >= MOST_OF_ONE {
            return Err(Refusal::Full);
        }
        *count += 1;
        Ok(AtTheDoor { doors: self.clone(), provider, _waiting: waiting })
    }

    /// From the upgrade to the end of the link.
    async fn host(self: Arc<Self>, upgrade: OnUpgrade, (hello, key): (Hello, LinkKey), place: AtTheDoor) {
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        let begun = timeout(PATIENCE, async {
            let stream = upgrade.await.ok()?;
            let (link, life) = Link::begin(stream, hello.provider, hello.offer, key, number).await.ok()?;
            let mut life = Box::pin(life);
            tokio::select! {
                ready = link.is_ready() => ready.ok()?,
                () = &mut life => return None,
            }
            Some((Arc::new(link), life))
        });
        let begun = begun.await;
        drop(place);
        if let Ok(Some((link, life))) = begun
            && self.roster.enter(&link)
        {
            life.await;
            self.roster.leave(&link);
        }
    }
}

/// Why somebody stays outside.
enum Refusal {
    Hello(HelloError),
    NotListed(Address),
    Dear(u16, u16),
    NoUpgrade,
    Full,
}

impl From<HelloError> for Refusal {
    fn from(error: HelloError) -> Self {
        Refusal::Hello(error)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let (status, code, message) = match self {
            Refusal::Hello(error) => {
                let (status, code) = match &error {
                    HelloError::Header(_) | HelloError::Offer(_) => (StatusCode::BAD_REQUEST, "bad_hello"),
                    HelloError::OtherGateway { .. } => (StatusCode::MISDIRECTED_REQUEST, "other_gateway"),
                    HelloError::ForeignNonce | HelloError::Expired | HelloError::Replayed => {
                        (StatusCode::UNAUTHORIZED, "bad_nonce")
                    }
                    HelloError::Signature(_) => (StatusCode::UNAUTHORIZED, "bad_signature"),
                    HelloError::TooMany => (StatusCode::SERVICE_UNAVAILABLE, "full"),
                };
                (status, code, error.to_string())
            }
            Refusal::NotListed(provider) => (
                StatusCode::FORBIDDEN,
                "not_listed",
                format!(
                    "{provider} is not among this gateway's providers\n  hint: ask the issuer to list it"
                ),
            ),
            Refusal::Dear(_, 0) => (
                StatusCode::UNPROCESSABLE_ENTITY,
                "asks_too_much",
                "this gateway pays its providers nothing\n  hint: --ask 0% serves for nothing; the issuer's plan may name a part: [providers] share".into(),
            ),
            Refusal::Dear(ask, most) => {
                let [ask, most] = [ask, most].map(|bps| Bps::new(bps).unwrap_or(Bps::ONE));
                let message = format!(
                    "it asks {ask} of the charge, and {most} is most here\n  hint: --ask names another part"
                );
                (StatusCode::UNPROCESSABLE_ENTITY, "asks_too_much", message)
            }
            Refusal::NoUpgrade => (
                StatusCode::UPGRADE_REQUIRED,
                "no_upgrade",
                format!(
                    "providers dial in with `Connection: upgrade` and `Upgrade: {PROTOCOL}`\n  hint: earnest provider does; a proxy in front of the gateway has to pass them on"
                ),
            ),
            Refusal::Full => {
                (StatusCode::SERVICE_UNAVAILABLE, "full", "too many providers dial in at once".into())
            }
        };
        let kind = if status.is_server_error() { "server_error" } else { "invalid_request_error" };
        let body = json!({"error": {"message": message, "type": kind, "param": null, "code": code}});
        let mut response = (status, Json(body)).into_response();
        if status == StatusCode::UPGRADE_REQUIRED {
            response.headers_mut().insert(header::UPGRADE, HeaderValue::from_static(PROTOCOL));
        }
        response
    }
}

/// `GET /earnest/provider/challenge` and `GET /earnest/provider`.
pub fn accept(doors: Arc<Doors>) -> Router {
    Router::new().route(CHALLENGE, get(challenge)).route(DOOR, get(dialled)).with_state(doors)
}

async fn challenge(State(doors): State<Arc<Doors>>) -> Response {
    let challenge =
        Challenge { nonce: doors.nonces.issue(), agrees: doors.agreement.public(), realm: doors.realm };
    ([(header::CACHE_CONTROL, "no-store")], Json(challenge)).into_response()
}

async fn dialled(State(doors): State<Arc<Doors>>, mut request: Request) -> Result<Response, Refusal> {
    let headers = request.headers();
    let names = |name, wanted: &str| {
        let values = headers.get_all(name).iter().filter_map(|value: &HeaderValue| value.to_str().ok());
        values.flat_map(|value| value.split(',')).any(|value| value.trim().eq_ignore_ascii_case(wanted))
    };
    let asks = names(header::CONNECTION, "upgrade") && names(header::UPGRADE, PROTOCOL);
    if !asks || request.extensions().get::<OnUpgrade>().is_none() {
        return Err(Refusal::NoUpgrade);
    }
    let waiting = doors.waiting.clone().try_acquire_owned().map_err(|_| Refusal::Full)?;
    let hello = doors.hello(request.headers())?;
    let upgrade = hyper::upgrade::on(&mut request);
    let place = doors.place(hello.0.provider, waiting)?;
    tokio::spawn(doors.host(upgrade, hello, place));
    let upgraded = [(header::CONNECTION, "upgrade"), (header::UPGRADE, PROTOCOL)];
    Ok((StatusCode::SWITCHING_PROTOCOLS, upgraded).into_response())
}
