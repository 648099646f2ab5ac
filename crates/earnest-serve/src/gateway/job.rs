//! One request from admission to its charge. Whatever happens in between, exactly one thing ends it: the charge for
//! what was written out, or nothing where nothing was.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use alloy_primitives::B256;
use earnest_core::charge::{Rates, Usage, pay};

use super::books::ApiKey;
use super::crash;
use super::delivery::Progress;
use super::journal::{Charge, Entry, day_of};
use super::receipt::Receipt;
use super::route::Served;
use super::serve::Turn;
use super::wire::{ENDS, Endpoint};
use super::{Gateway, now_ms};
use earnest_chain::voucher::SignedReceipt;

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
    pub most: Usage,
    /// The most it can cost.
    pub reserve: u128,
    /// SHA-256 of the body as it came in.
    pub asked: B256,
    /// Bytes of it.
    pub length: u64,
    /// When it came in.
    pub begun: Instant,
    /// The entry that must be on the disk before the first byte leaves.
    pub lease: Option<u64>,
    /// Holds its `Idempotency-Key`.
    pub turn: Option<Turn>,
    over: bool,
}

impl Drop for Job {
    fn drop(&mut self) {
        if !self.over {
            self.key.settle(self.reserve, 0, day_of(now_ms()));
            self.gateway.metrics.in_flight.dec();
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
    pub most: Usage,
    /// The most it can cost.
    pub reserve: u128,
    /// SHA-256 of its body.
    pub asked: B256,
    /// Bytes of it.
    pub length: u64,
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
    ) -> Self {
        gateway.metrics.in_flight.inc();
        let Admitted { endpoint, model, price_version, rates, most, reserve, asked, length } = admitted;
        let (begun, over) = (Instant::now(), false);
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
            length,
            begun,
            lease,
            turn,
            over,
        }
    }

    /// Usage that a provider states, as far as it can be true: not more than was asked for, and hardly more model tokens
    /// than there are bytes of text.
    pub fn bounded(&self, stated: Usage, text: u64) -> Usage {
        let output = self.most.output.min(text.saturating_add(ENDS));
        stated.at_most(Usage { output, ..self.most })
    }

    /// Usage of an answer that broke off, by what was written out of it: a model token for each piece, and of the
    /// prompt, where nobody stated it, a model token for every eight bytes: fewer than any tokenizer makes of text.
    pub fn cut_off(&self, written: Progress, stated: Option<Usage>) -> Usage {
        let stated = stated.unwrap_or(Usage { input: self.length / 8, cached: 0, output: 0 });
        let output = written.pieces.min(written.text);
        Usage { output, ..stated }.at_most(self.most)
    }

    /// The charge, with its receipt, signed or (for a mark, which may never be needed) not.
    pub fn charge(
        &self,
        served: &Served,
        usage: Usage,
        complete: bool,
        answer: Option<B256>,
        signed: bool,
    ) -> Charge {
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
            receipt,
        }
    }

    /// Charges it. It is on the disk within a flush interval.
    pub fn record(mut self, charge: Charge) {
        crash::point("charged");
        self.over = true;
        let amount = charge.charge;
        let day = day_of(charge.time);
        self.gateway.metrics.charged(&charge, self.begun.elapsed());
        // Before what it reserved is free again: a later lease is written after it.
        self.gateway.journal.write(Entry::Charge(Box::new(charge)));
        self.key.settle(self.reserve, amount, day);
        self.gateway.metrics.in_flight.dec();
        self.gateway.unclaimed.fetch_add(1, Ordering::Relaxed);
    }
}
