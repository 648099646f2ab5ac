//! One request's tries: one operator after the other is asked until a byte of an answer has gone out. What one of them says
//! of the request is held against another's word; what one does not have is asked of the next.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::time::{Duration, Instant, SystemTime};

use alloy_primitives::B256;
use axum::http::{HeaderMap, Request, Response, StatusCode, header};
use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, Full};

use super::refusal::Refusal;
use super::route::{At, Begun, Body, Candidate, Name, Patience, Routes, Served, broke_off};
use crate::openai::Endpoint;
use crate::openai::fault::{self, Fault, Whose};
use crate::openai::request::{Added, Asked};
use crate::packing::Unpacked;
use crate::provider::roster::LinkError;
use crate::request_id::uuid_of;

/// Providers that a request is tried with.
const TRIES: usize = 3;
/// Bytes of a refusal that are read.
const REFUSAL: usize = 64 << 10;
/// How long a refusal may take to come.
const REFUSAL_TIME: Duration = Duration::from_secs(10);

/// How one try went wrong.
pub enum Trouble {
    /// It finds fault with the request, and says what.
    Asked(StatusCode, Box<Fault>),
    /// It does not have what the request is sent to.
    Lacking,
    /// The gateway's own: nobody else would do better.
    Ours(Refusal),
    /// Another may do better.
    Next(Refusal),
    /// It has too much to do; seconds it asks to wait.
    Full(u64),
    /// It cannot now, and says when to come again.
    Later(Refusal),
    /// It could not be asked on this connection.
    Link(Refusal),
}

impl Trouble {
    /// It was waited for, and said nothing.
    pub fn is_silence(&self) -> bool {
        matches!(self, Trouble::Next(Refusal::Timeout(_)))
    }

    /// Of what a server says in place of an answer, under a 200.
    pub fn said(fault: Fault, served: &Served, otherwise: &str) -> Self {
        let status = fault.status.and_then(|status| StatusCode::from_u16(status).ok());
        let whose = status.map(|status| (status, fault.whose(status)));
        match whose {
            Some((status, Whose::Request)) => Trouble::Asked(status, Box::new(fault)),
            Some((StatusCode::TOO_MANY_REQUESTS, Whose::Busy)) => {
                Trouble::Full(fault::wait(&HeaderMap::new(), Some(&fault), SystemTime::now()).unwrap_or(1))
            }
            _ => {
                let why = fault.message.unwrap_or_else(|| "it said nothing that can be read".into());
                served.warn_of(otherwise, || format!("{otherwise}: {why}"));
                Trouble::Next(Refusal::Upstream(otherwise.into()))
            }
        }
    }
}

/// What one found wrong with the request.
struct Blame {
    by: Served,
    status: StatusCode,
    fault: Box<Fault>,
}

impl Blame {
    /// How much it is worth to whoever asked: the issuer's own word most, then what names the place.
    fn worth(&self) -> (bool, bool, usize) {
        let named = [&self.fault.param, &self.fault.code].into_iter().flatten().count();
        (!self.by.seals(), self.fault.message.is_some(), named)
    }

    fn told(self) -> Refusal {
        Refusal::Told(self.status, self.fault)
    }
}

/// One request, and whom it may still be tried with.
pub struct Tries<'r> {
    routes: &'r Routes,
    asked: &'r Asked,
    id: &'r str,
    trace: Option<&'r str>,
    candidates: Vec<Candidate>,
    turn: usize,
    turns: usize,
    left: usize,
    /// Operators whose server has answered, and not well.
    done: Vec<Name>,
    last: Option<Refusal>,
    wait: Option<u64>,
    /// Who dialled in and found fault with the request, until another has said or served.
    blame: Option<Blame>,
}

impl Routes {
    /// The tries of one request.
    pub fn tries<'r>(
        &'r self,
        asked: &'r Asked,
        channel: B256,
        id: &'r str,
        most_ask: u16,
        trace: Option<&'r str>,
    ) -> Tries<'r> {
        let mut candidates = self.candidates(asked, most_ask, channel);
        // Where all lack it, one may have it by now.
        let lacking = |candidate: &Candidate| candidate.served.health().is_lacking(&asked.model);
        if !candidates.iter().all(lacking) {
            candidates.retain(|candidate| !lacking(candidate));
        }
        // Three operators, and of each two links at most: the second where the first has ended.
        let mut of: HashMap<Name, usize> = HashMap::new();
        candidates.retain(|candidate| {
            let full = of.len() == TRIES;
            match of.entry(candidate.name) {
                Entry::Occupied(mut count) if *count.get() < 2 => *count.get_mut() += 1,
                Entry::Vacant(place) if !full => drop(place.insert(1)),
                _ => return false,
            }
            true
        });
        // Where there is but one, it may have failed for a moment only.
        let left = if of.len() == 1 { 2 } else { TRIES };
        let turns = candidates.len().max(left);
        Tries {
            routes: self,
            asked,
            id,
            trace,
            candidates,
            turn: 0,
            turns,
            left,
            done: Vec::new(),
            last: None,
            wait: None,
            blame: None,
        }
    }
}

/// Whoever serves the model does not have what the request is sent to.
fn lacking(asked: &Asked) -> Refusal {
    let why = format!("nobody who serves {} here has /v1{}", asked.model, asked.endpoint.path());
    Refusal::Missing(why, "unsupported_endpoint")
}

impl Tries<'_> {
    /// Asks one after the other until one begins to answer, or says that the request is at fault.
    pub async fn next(&mut self) -> Result<Begun, Refusal> {
        if self.candidates.is_empty() {
            let why = format!("nobody serves {} at the moment", self.asked.model);
            return Err(Refusal::NoProvider(why, 5));
        }
        while self.left > 0 && self.turn < self.turns {
            let candidate = &self.candidates[self.turn % self.candidates.len()];
            self.turn += 1;
            if self.done.contains(&candidate.name) && !self.is_alone() {
                continue;
            }
            self.left -= 1;
            let (_, word) = self.patience(candidate);
            let (waiting, until) = (candidate.served.waiting(self.asked.stream), Instant::now() + word);
            match self.one(candidate).await {
                Ok((served, body)) => return Ok(Begun { served, body, waiting, until }),
                Err(trouble) => {
                    waiting.over(!trouble.is_silence());
                    self.failed(trouble)?;
                }
            }
        }
        // Nobody else could say. The word of one that rests is none beside another that is only busy.
        let busy = self.wait.is_some() || matches!(self.last, Some(Refusal::Busy(..)));
        if let Some(blame) = self.blame.take_if(|blame| !busy || blame.by.is_well()) {
            return Err(blame.told());
        }
        Err(match (self.last.take(), self.wait) {
            (_, Some(secs)) => Refusal::Busy("all providers of this model are busy".into(), secs),
            (Some(refusal), None) => refusal,
            (None, None) => Refusal::NoProvider("no provider could be reached".into(), 5),
        })
    }

    /// There is but one operator.
    fn is_alone(&self) -> bool {
        self.candidates.iter().all(|candidate| candidate.name == self.candidates[0].name)
    }

    /// The last one failed after all. An error ends the request; else the next one may be asked.
    pub fn failed(&mut self, trouble: Trouble) -> Result<(), Refusal> {
        let last = (self.turn.max(1) - 1) % self.candidates.len();
        if !matches!(trouble, Trouble::Link(_)) {
            self.done.push(self.candidates[last].name);
        }
        // Where it has just said when to come again, nobody else of it is asked.
        let later = matches!(trouble, Trouble::Full(_) | Trouble::Later(_));
        let served = &self.candidates[last].served;
        match &trouble {
            Trouble::Full(_) => served.warn_once(|| "it has as much to do as it takes".into()),
            Trouble::Next(refusal) | Trouble::Later(refusal) => served.warn_once(|| refusal.why().to_owned()),
            _ => {}
        }
        match trouble {
            Trouble::Asked(status, fault) => {
                let by = self.candidates[last].served.clone();
                return self.blamed(Blame { by, status, fault });
            }
            Trouble::Ours(refusal) => return Err(refusal),
            Trouble::Lacking => {
                self.last.get_or_insert_with(|| lacking(self.asked));
                self.left = if self.is_alone() { 0 } else { self.left };
            }
            Trouble::Full(secs) => self.wait = Some(self.wait.map_or(secs, |other| other.min(secs))),
            // Whoever was slow has taken the time that the client has; a stream's head should come at once.
            // Nor is the only one asked again.
            Trouble::Next(refusal @ Refusal::Timeout(_)) if !self.asked.stream || self.is_alone() => {
                self.last = Some(refusal);
                (self.left, self.wait) = (0, None);
            }
            Trouble::Next(refusal) | Trouble::Later(refusal) | Trouble::Link(refusal) => {
                self.last = Some(refusal)
            }
        }
        if later && self.is_alone() {
            self.left = 0;
        }
        Ok(())
    }

    /// The issuer's own is believed. Whoever dialled in may be set up wrongly, or mean ill: believed alone, the cheapest
    /// could take a model away from everybody and lose nothing. So another operator is heard first: one, for a request that is
    /// at fault is not to be carried from door to door.
    fn blamed(&mut self, blame: Blame) -> Result<(), Refusal> {
        let first = self.blame.take();
        if first.is_some() || !blame.by.seals() || self.is_alone() {
            let before = first.filter(|first| first.worth() >= blame.worth());
            return Err(before.unwrap_or(blame).told());
        }
        self.blame = Some(blame);
        // Nobody's word is better than the issuer's own.
        let rest = self.turn..self.candidates.len();
        let own = |at: &usize| {
            let served = &self.candidates[*at].served;
            !served.seals() && served.is_well()
        };
        if let Some(own) = rest.clone().find(own) {
            self.candidates.swap(rest.start, own);
        }
        Ok(())
    }

    /// What is told where nobody else can be asked any more.
    pub fn told(&self, trouble: Trouble) -> Refusal {
        match trouble {
            Trouble::Asked(status, fault) => Refusal::Told(status, fault),
            Trouble::Ours(refusal)
            | Trouble::Next(refusal)
            | Trouble::Later(refusal)
            | Trouble::Link(refusal) => refusal,
            Trouble::Full(secs) => Refusal::Busy("the provider is busy".into(), secs),
            Trouble::Lacking => lacking(self.asked),
        }
    }

    /// The last one served it: so whoever found fault with it was wrong.
    pub fn served(&mut self) {
        let last = (self.turn.max(1) - 1) % self.candidates.len();
        if let Some(blame) = self.blame.take() {
            blame.by.refuted(!self.candidates[last].served.seals());
        }
    }

    /// No other operator can be asked behind it.
    fn is_last(&self, candidate: &Candidate) -> bool {
        let other = |other: &Candidate| other.name != candidate.name && !self.done.contains(&other.name);
        self.left == 0 || !self.candidates.iter().any(other)
    }

    /// How long one is waited for: for a head, and for the first word behind it. A stream should begin soon: where another
    /// operator is there, that one is asked before the client gives up. Who has sent a head is there, and has longer.
    fn patience(&self, candidate: &Candidate) -> (Duration, Duration) {
        let Patience { head, soon, .. } = self.routes.patience;
        match self.asked.stream && !self.is_last(candidate) {
            true => (head.min(soon), head.min(2 * soon)),
            false => (head, head),
        }
    }

    async fn one(&self, candidate: &Candidate) -> Result<(Served, Body), Trouble> {
        let known = self.routes.refused(candidate.name, &self.asked.model);
        let mut added = known;
        // Each refusal that names what was added takes something away.
        loop {
            let (answered, body) = self.send(candidate, added).await?;
            let (parts, answer) = answered.into_parts();
            // What is accepted only, or has no content, is no answer.
            if matches!(parts.status, StatusCode::OK | StatusCode::CREATED) {
                let asked = candidate
                    .served
                    .link
                    .as_ref()
                    .map(|_| B256::from_slice(&<sha2::Sha256 as sha2::Digest>::digest(&body)));
                let served = candidate.served.again(asked);
                // Its provider unpacks: packed, a little would be much to read.
                let packed = served.seals() && parts.headers.contains_key(header::CONTENT_ENCODING);
                let answer = Unpacked::of(&parts.headers, answer).filter(|_| !packed).ok_or_else(|| {
                    candidate.served.strike();
                    Trouble::Next(Refusal::Upstream(
                        "the provider's answer is packed, and nobody asked for it".into(),
                    ))
                })?;
                candidate.served.health().has(&self.asked.model);
                // Only what then worked is remembered, and never that there is no bound at all.
                if added != known && added.is_kept() {
                    self.routes.remember(candidate.name, &self.asked.model, added);
                }
                return Ok((served, answer.map_err(broke_off).boxed_unsync()));
            }
            let fault = said(&parts.headers, answer).await;
            // Who does not have a path is not ill: it serves the others. Chats everyone has to have.
            if self.asked.endpoint != Endpoint::Chat && fault.is_of_the_path(parts.status) {
                candidate.served.health().lacks(&self.asked.model);
                candidate.served.warn(|| format!("its server has no {}", self.asked.endpoint.path()));
                return Err(Trouble::Lacking);
            }
            match fault.whose(parts.status) {
                Whose::Request => match self.asked.without(&candidate.dialect, added, &fault) {
                    Some(less) => added = less,
                    None => return Err(Trouble::Asked(parts.status, Box::new(fault))),
                },
                Whose::Busy => {
                    let wait = fault::wait(&parts.headers, Some(&fault), SystemTime::now());
                    candidate.served.health().busy(wait.unwrap_or(1));
                    if parts.status == StatusCode::TOO_MANY_REQUESTS {
                        return Err(Trouble::Full(wait.unwrap_or(1).max(1)));
                    }
                    candidate.served.strike();
                    let why = format!("the provider answered {}", parts.status);
                    return Err(match wait {
                        Some(secs) => Trouble::Later(Refusal::NoProvider(why, secs)),
                        None => Trouble::Next(Refusal::NoProvider(why, 2)),
                    });
                }
                Whose::Server => {
                    let why = match parts.status {
                        status @ (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) => {
                            format!("the provider was refused by its upstream ({status})")
                        }
                        status => format!("the provider answered {}", status.as_u16()),
                    };
                    let said = fault.message.as_deref().unwrap_or("it did not say why");
                    candidate.served.warn_of(&why, || format!("{why}: {said}"));
                    return Err(self.next_one(candidate, why));
                }
            }
        }
    }

    fn next_one(&self, candidate: &Candidate, why: String) -> Trouble {
        candidate.served.strike();
        Trouble::Next(Refusal::NoProvider(why, 2))
    }

    /// Sends the request, and waits for the head of the answer; what was sent comes back with it.
    async fn send(&self, candidate: &Candidate, added: Added) -> Result<(Response<Body>, Bytes), Trouble> {
        let endpoint = self.asked.endpoint;
        let next = |why: String| self.next_one(candidate, why);
        // A provider knows its models by the price list's names: its dialect here has no other.
        let body = self.asked.body(&candidate.dialect, added);
        let sent = async {
            let mut request = match &candidate.at {
                At::Own(own) => own.asked.post(endpoint).header("x-request-id", uuid_of(self.id)),
                At::Link(_) => {
                    Request::post(format!("/v1{}", endpoint.path())).header("x-request-id", self.id)
                }
            };
            request = request.header(header::CONTENT_TYPE, "application/json");
            if let Some(trace) = self.trace {
                request = request.header("traceparent", trace);
            }
            match &candidate.at {
                At::Own(own) => {
                    let turn = own.turn().ok_or(Trouble::Full(1))?;
                    let request = request.body(Full::from(body.clone()));
                    let request = request.map_err(|error| next(error.to_string()))?;
                    let client = self.routes.client().map_err(|error| next(error.to_string()))?;
                    let sent = client.request(request).await;
                    // What is wrong there is the operator's to know, and no client's.
                    let response = sent.map_err(|error| {
                        candidate.served.warn(|| own.asked.unanswered(&error));
                        next(match error.is_connect() {
                            true => "the upstream cannot be reached".into(),
                            false => "the upstream did not answer".into(),
                        })
                    })?;
                    Ok(response.map(|body| {
                        body.map_err(broke_off)
                            .map_frame(move |frame| {
                                let _ = &turn;
                                frame
                            })
                            .boxed_unsync()
                    }))
                }
                At::Link(link) => {
                    let request = request.body(body.clone()).map_err(|error| next(error.to_string()))?;
                    match link.send(request).await {
                        Ok(response) => Ok(response.map(|body| body.map_err(broke_off).boxed_unsync())),
                        Err(LinkError::Busy(_)) => {
                            candidate.served.warn(|| {
                                let most = link.offer.concurrency;
                                format!("its {most} requests at once, of each link, are under way (its --concurrency)")
                            });
                            let why = "all providers of this model are busy";
                            Err(Trouble::Link(Refusal::Busy(why.into(), 1)))
                        }
                        Err(error) => {
                            candidate.served.strike();
                            Err(Trouble::Link(Refusal::NoProvider(error.to_string(), 2)))
                        }
                    }
                }
            }
        };
        let (patience, _) = self.patience(candidate);
        match tokio::time::timeout(patience, sent).await {
            Ok(response) => Ok((response?, body)),
            Err(_) => {
                candidate.served.strike();
                let secs = patience.as_secs();
                Err(Trouble::Next(Refusal::Timeout(format!(
                    "the provider did not begin to answer in {secs} s"
                ))))
            }
        }
    }
}

/// What a refusal says, as far as it can be read.
async fn said(headers: &HeaderMap, body: Body) -> Fault {
    let Some(mut body) = Unpacked::of(headers, body) else { return Fault::default() };
    let mut bytes = BytesMut::new();
    let reading = async {
        while let Some(Ok(frame)) = body.frame().await {
            if let Ok(data) = frame.into_data() {
                bytes.extend_from_slice(&data[..data.len().min(REFUSAL - bytes.len())]);
            }
            if bytes.len() == REFUSAL {
                break;
            }
        }
    };
    let _ = tokio::time::timeout(REFUSAL_TIME, reading).await;
    Fault::read(&bytes)
}
