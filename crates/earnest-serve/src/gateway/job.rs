//! One request from admission to its charge. Whatever happens in between, exactly one thing ends it: the charge for
//! what was written out, or nothing where nothing was.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use alloy_primitives::B256;
use earnest_chain::voucher::SignedReceipt;
use earnest_core::charge::{Rates, Usage, pay};

use super::again::Turn;
use super::books::ApiKey;
use super::crash;
use super::journal::{Charge, Entry, day_of};
use super::receipt::Receipt;
use super::refusal::Refusal;
use super::route::Served;
use super::trace::Request as Span;
use super::{Gateway, now_ms};
use crate::openai::Endpoint;
use crate::openai::answer::Counted;
use crate::openai::request::Most;
use crate::openai::usage::Resolved;
use crate::provider;

/// What a request reserves, until it is charged. Dropped before, it reserves nothing any more and costs nothing.
pub struct Job {
    /// Where it came in.
    pub gateway: Arc<Gateway>,
    /// Who asks.
    pub key: Arc<ApiKey>,
    /// Its name, in headers, receipts and logs.
    pub id: String,
    /// What is asked.
    pub endpoint: Endpoint,
    /// The model, as the price list names it.
    pub model: String,
    /// The version of the price list, at admission.
    pub price_version: u32,
    /// Its prices.
    pub rates: Rates,
    /// The most it can use.
    pub most: Most,
    /// The most it can cost.
    pub reserve: u128,
    /// SHA-256 of the body as it came in.
    pub asked: B256,
    /// When it came in.
    pub begun: Instant,
    /// The entry that must be on the disk before the first byte leaves.
    pub lease: Option<u64>,
    /// Holds its `Idempotency-Key`.
    pub turn: Option<Turn>,
    span: Span,
    over: bool,
    /// How it ended is in metrics and traces; else its client has left.
    told: bool,
}

impl Drop for Job {
    fn drop(&mut self) {
        if !self.over {
            self.key.settle(self.reserve, 0, day_of(now_ms()));
            self.gateway.metrics.in_flight.dec();
        }
        if !self.told {
            self.gateway.metrics.left(self.endpoint);
            self.span.left(&self.id);
        }
    }
}

/// What a request has to say of itself when it is let in.
pub struct Admitted {
    /// Where it came in.
    pub endpoint: Endpoint,
    /// The model, as the price list names it.
    pub model: String,
    /// The version of the price list.
    pub price_version: u32,
    /// Its prices.
    pub rates: Rates,
    /// The most it can use.
    pub most: Most,
    /// The most it can cost.
    pub reserve: u128,
    /// SHA-256 of its body.
    pub asked: B256,
}

impl Job {
    /// A request was let in.
    pub fn new(
        gateway: Arc<Gateway>,
        key: Arc<ApiKey>,
        id: String,
        admitted: Admitted,
        lease: Option<u64>,
        turn: Option<Turn>,
        span: Span,
    ) -> Self {
        gateway.metrics.in_flight.inc();
        let Admitted { endpoint, model, price_version, rates, most, reserve, asked } = admitted;
        let (begun, over, told) = (Instant::now(), false, false);
        Job {
            gateway,
            key,
            id,
            endpoint,
            model,
            price_version,
            rates,
            most,
            reserve,
            asked,
            begun,
            lease,
            turn,
            span,
            over,
            told,
        }
    }

    /// The charge, with its receipt, signed or (for a mark, which may never be needed) not.
    pub fn charge(
        &self,
        served: &Served,
        counted: Counted,
        complete: bool,
        answer: Option<B256>,
        signed: bool,
    ) -> Charge {
        let Counted { usage, estimated, .. } = counted;
        // Never more than was reserved, whatever anyone says.
        let charge =
            self.rates.charge(self.endpoint.service(), usage).unwrap_or(self.reserve).min(self.reserve);
        let key = self.key.row.read().expect("no panic holds it").id.clone();
        let time = now_ms();
        let receipt = Receipt {
            version: 1,
            id: self.id.clone(),
            time,
            chain_id: self.gateway.house.chain_id,
            revenue: self.gateway.house.revenue,
            channel: self.key.line.id,
            key: key.clone(),
            provider: served.provider,
            model: self.model.clone(),
            service: self.endpoint.service(),
            price_version: self.price_version,
            rates: self.rates,
            usage,
            coin: self.key.line.coin,
            charge,
            complete,
            estimated,
            request_sha256: self.asked,
            response_sha256: answer,
        };
        let receipt = match signed {
            true => receipt.sign(self.gateway.house, &self.gateway.key),
            false => SignedReceipt { receipt: receipt.text(), signature: Default::default() },
        };
        Charge {
            id: self.id.clone(),
            channel: self.key.line.id,
            key,
            provider: served.provider,
            model: self.model.clone(),
            price_version: self.price_version,
            usage,
            charge,
            pay: pay(charge, served.ask),
            time,
            complete,
            estimated,
            receipt,
        }
    }

    /// It is not answered, and why. Nothing is charged.
    pub fn refused(mut self, refusal: Refusal) -> Refusal {
        self.told = true;
        self.span.refused(&self.id, &refusal);
        refusal
    }

    /// The client left with nothing: its `Idempotency-Key` is free again, and nothing is charged.
    pub fn forget(self) {
        if let Some(turn) = &self.turn {
            let key = self.key.row.read().expect("no panic holds it").id.clone();
            self.gateway.journal.write(Entry::Forget(key, turn.idempotency().to_owned()));
        }
    }

    /// What was learnt of who served it: the operator is told of what went beyond, the provider of what was counted
    /// otherwise than it stated, and why.
    pub fn learn(&self, served: &Served, counted: &Counted, stated: Resolved) {
        if let (Some(link), Some(why)) = (&served.link, counted.why) {
            let told = |usage: Usage| provider::usage::Usage {
                prompt: usage.input,
                cached: usage.cached,
                completion: usage.output,
            };
            let states = stated.input.is_some() || stated.output.is_some();
            link.tell(provider::counted::Counted {
                request: self.id.clone(),
                model: self.model.clone(),
                stated: states.then(|| told(stated.usage())),
                counted: told(counted.usage),
                why: why.into(),
            });
        }
        if counted.beyond {
            served.strike();
            served
                .warn(|| "its answers go beyond what was asked for: does its server know the bound?".into());
        }
    }

    /// Charges it. It is on the disk within a flush interval.
    pub fn record(mut self, charge: Charge) {
        crash::point("charged");
        (self.over, self.told) = (true, true);
        let amount = charge.charge;
        let day = day_of(charge.time);
        self.gateway.metrics.charged(self.endpoint, &charge, self.begun.elapsed());
        self.span.charged(&charge);
        // Before what it reserved is free again: a later lease is written after it.
        self.gateway.journal.write(Entry::Charge(Box::new(charge)));
        self.key.settle(self.reserve, amount, day);
        self.gateway.metrics.in_flight.dec();
        self.gateway.unclaimed.fetch_add(1, Ordering::Relaxed);
    }
}
