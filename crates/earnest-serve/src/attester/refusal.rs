//! Everything the attester says no with: what is wrong, what to do, and the HTTP status. Nothing here says anything
//! about a wallet to somebody who has not signed with it.

use alloy_primitives::Address;
use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use earnest_chain::chain::ChainError;
use earnest_core::money::Cash;
use earnest_core::plan::{Time, date::utc};
use thiserror::Error;

/// Why there is no permit.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum Refusal {
    #[error("the request cannot be read: {0}")]
    Malformed(String),
    #[error("pages of {0} may not ask here")]
    ForeignOrigin(String),
    #[error("there is no round {round}")]
    NoSuchRound { round: String, rounds: String },
    #[error("the message is not one of this service's: {0}")]
    ForeignMessage(&'static str),
    #[error("the message is of {message}, and the request of {wallet}")]
    ForeignWallet { message: String, wallet: Address },
    #[error("the message has expired")]
    Expired,
    #[error("the message has been used")]
    Replayed,
    #[error("the signature is not that of {0}")]
    BadSignature(Address),
    #[error("{0} is not approved")]
    NotApproved(Address),
    #[error("the identity service did not approve: {0}")]
    Declined(String),
    #[error("this approval is not for round {0}")]
    OtherRounds(String),
    #[error("this approval ended at {}", utc(*.0))]
    Ended(Time),
    #[error("round {round} closed at {}", utc(*.at))]
    Closed { round: String, at: Time },
    #[error("another wallet of the same buyer has a permit for round {0}")]
    OtherWallet(String),
    #[error("this wallet has bought as another buyer")]
    OtherEntity,
    #[error("the approval does not fit the plan: {0}")]
    Unfit(String),
    #[error("the most that this buyer may pay is {most}, and round {round} takes no less than {least}")]
    TooLittle { round: String, least: Cash, most: Cash },
    #[error("regime {regime} has its {most} buyers")]
    Full { regime: String, most: u32 },
    #[error("too many requests")]
    TooOften { wait_secs: u64 },
    #[error("the identity service does not answer: {0}")]
    VendorDown(&'static str),
    #[error("no key of this service signs for the offering: {0}")]
    NoKey(String),
    #[error("the chain does not answer: {0}")]
    NoChain(String),
    #[error("decisions cannot be recorded: {0}")]
    NoLog(String),
}

impl Refusal {
    /// A word for programs, and for the log.
    pub fn code(&self) -> &'static str {
        match self {
            Refusal::Malformed(_) => "malformed",
            Refusal::ForeignOrigin(_) => "foreign_origin",
            Refusal::NoSuchRound { .. } => "no_such_round",
            Refusal::ForeignMessage(_) => "foreign_message",
            Refusal::ForeignWallet { .. } => "foreign_wallet",
            Refusal::Expired => "expired",
            Refusal::Replayed => "replayed",
            Refusal::BadSignature(_) => "bad_signature",
            Refusal::NotApproved(_) => "not_approved",
            Refusal::Declined(_) => "declined",
            Refusal::OtherRounds(_) => "other_rounds",
            Refusal::Ended(_) => "ended",
            Refusal::Closed { .. } => "closed",
            Refusal::OtherWallet(_) => "other_wallet",
            Refusal::OtherEntity => "other_entity",
            Refusal::Unfit(_) => "unfit",
            Refusal::TooLittle { .. } => "too_little",
            Refusal::Full { .. } => "full",
            Refusal::TooOften { .. } => "too_often",
            Refusal::VendorDown(_) => "vendor_down",
            Refusal::NoKey(_) => "no_key",
            Refusal::NoChain(_) => "no_chain",
            Refusal::NoLog(_) => "no_log",
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> String {
        match self {
            Refusal::Malformed(_) => {
                "send {\"wallet\", \"round\", \"message\", \"signature\"} as JSON of at most 16 KiB".into()
            }
            Refusal::ForeignOrigin(_) => {
                "open the offering's own page; its operator allows others with --origin".into()
            }
            Refusal::NoSuchRound { rounds, .. } => format!("one of {rounds}, by name or number"),
            Refusal::ForeignMessage(_)
            | Refusal::ForeignWallet { .. }
            | Refusal::Expired
            | Refusal::Replayed => {
                "ask for a new message with POST challenge, and sign that with the wallet that will bid"
                    .into()
            }
            Refusal::BadSignature(_) => {
                "sign the message as it is with personal_sign, with the wallet that will bid".into()
            }
            Refusal::NotApproved(_) => {
                "complete the issuer's identity checks with this wallet, then ask again".into()
            }
            Refusal::Declined(_) | Refusal::Unfit(_) => {
                "write to the issuer, who can look at the approval".into()
            }
            Refusal::OtherRounds(_) | Refusal::Closed { .. } => {
                "GET rounds says which rounds there are and when".into()
            }
            Refusal::Ended(_) => "renew the identity checks with the issuer".into(),
            Refusal::OtherWallet(_) => {
                "bid with the wallet that has the permit, or write to the issuer".into()
            }
            Refusal::OtherEntity => "use another wallet, or write to the issuer".into(),
            Refusal::TooLittle { .. } => "write to the issuer, who can raise the limit".into(),
            Refusal::Full { .. } => "no more buyers can be approved under it".into(),
            Refusal::TooOften { wait_secs } => format!("ask again in {wait_secs} s"),
            Refusal::VendorDown(_) => "nothing was decided; ask again in a minute".into(),
            Refusal::NoKey(remedy) => remedy.clone(),
            Refusal::NoChain(_) => "nothing was decided; ask again in a minute".into(),
            Refusal::NoLog(_) => {
                "the operator must make room for the log; nothing is signed that is not recorded".into()
            }
        }
    }

    fn status(&self) -> StatusCode {
        match self {
            Refusal::Malformed(_) => StatusCode::BAD_REQUEST,
            Refusal::NoSuchRound { .. } => StatusCode::NOT_FOUND,
            Refusal::ForeignMessage(_)
            | Refusal::ForeignWallet { .. }
            | Refusal::Expired
            | Refusal::Replayed
            | Refusal::BadSignature(_) => StatusCode::UNAUTHORIZED,
            Refusal::TooOften { .. } => StatusCode::TOO_MANY_REQUESTS,
            Refusal::VendorDown(_) | Refusal::NoKey(_) | Refusal::NoChain(_) | Refusal::NoLog(_) => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            _ => StatusCode::FORBIDDEN,
        }
    }
}

impl From<ChainError> for Refusal {
    fn from(error: ChainError) -> Self {
        Refusal::NoChain(error.to_string().lines().next().unwrap_or_default().to_string())
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let body = serde_json::json!({ "error": self.to_string(), "hint": self.hint(), "code": self.code() });
        let mut response = (self.status(), Json(body)).into_response();
        let wait = match &self {
            Refusal::TooOften { wait_secs } => Some(*wait_secs),
            Refusal::VendorDown(_) | Refusal::NoChain(_) => Some(60),
            _ => None,
        };
        if let Some(secs) = wait {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(secs));
        }
        response
    }
}
