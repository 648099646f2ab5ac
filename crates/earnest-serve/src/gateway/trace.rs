//! Traces for OpenTelemetry, in the words of its conventions for generative models. Sent only where the environment
//! names a collector (`OTEL_EXPORTER_OTLP_ENDPOINT`); what a client or a provider says of a trace is passed on either way.

use axum::http::HeaderMap;
use opentelemetry::trace::{
    Span as _, SpanContext, SpanId, SpanKind, Status, TraceContextExt, TraceFlags, TraceId, TraceState,
    Tracer as _, TracerProvider as _,
};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider, Span};

use super::journal::Charge;
use super::refusal::Refusal;
use crate::openai::Endpoint;
use crate::request_id::is_traceparent;

/// Where spans go.
#[derive(Default)]
pub struct Trace(Option<(SdkTracerProvider, SdkTracer)>);

impl Trace {
    /// As the environment says.
    pub fn from_environment() -> anyhow::Result<Self> {
        let named = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        if !named("OTEL_EXPORTER_OTLP_ENDPOINT") && !named("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") {
            return Ok(Trace(None));
        }
        // The exporter's client must not be made by a thread that serves.
        let built =
            std::thread::spawn(|| opentelemetry_otlp::SpanExporter::builder().with_http().build()).join();
        let exporter = built.map_err(|_| anyhow::anyhow!("the exporter of traces cannot be made"))??;
        let resource = opentelemetry_sdk::Resource::builder().with_service_name("earnest-gateway").build();
        let provider =
            SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource).build();
        let tracer = provider.tracer("earnest");
        Ok(Trace(Some((provider, tracer))))
    }

    /// A request begins.
    pub fn begin(&self, endpoint: Endpoint, model: &str, headers: &HeaderMap) -> Request {
        let given = headers.get("traceparent").and_then(|value| value.to_str().ok());
        let Some((_, tracer)) = &self.0 else {
            return Request {
                span: None,
                given: given.filter(|text| parent(text).is_some()).map(str::to_owned),
            };
        };
        let parent = given.and_then(parent).map(|parent| Context::new().with_remote_span_context(parent));
        let span = tracer
            .span_builder(format!("{} {model}", operation(endpoint)))
            .with_kind(SpanKind::Server)
            .with_attributes([
                KeyValue::new("gen_ai.operation.name", operation(endpoint)),
                KeyValue::new("gen_ai.request.model", model.to_owned()),
            ])
            .start_with_context(tracer, &parent.unwrap_or_default());
        Request { span: Some(span), given: None }
    }

    /// Sends what is left.
    pub fn close(&self) {
        if let Some((provider, _)) = &self.0 {
            let _ = provider.shutdown();
        }
    }
}

fn operation(endpoint: Endpoint) -> &'static str {
    match endpoint {
        Endpoint::Chat | Endpoint::Responses => "chat",
        Endpoint::Completions => "text_completion",
        Endpoint::Embeddings => "embeddings",
    }
}

/// A W3C `traceparent`.
fn parent(text: &str) -> Option<SpanContext> {
    if !is_traceparent(text.as_bytes()) {
        return None;
    }
    let mut parts = text.split('-').skip(1);
    let (trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?);
    let flags = TraceFlags::new(u8::from_str_radix(flags, 16).ok()?);
    let (trace, span) = (TraceId::from_hex(trace).ok()?, SpanId::from_hex(span).ok()?);
    Some(SpanContext::new(trace, span, flags, true, TraceState::default()))
}

/// A request under way.
pub struct Request {
    span: Option<Span>,
    given: Option<String>,
}

impl Request {
    /// What a provider is told.
    pub fn parent(&self) -> Option<String> {
        let Some(span) = &self.span else { return self.given.clone() };
        let context = span.span_context();
        Some(format!("00-{}-{}-{:02x}", context.trace_id(), context.span_id(), context.trace_flags()))
    }

    /// Its last byte went out, or as many as the client took.
    pub fn charged(&mut self, charge: &Charge) {
        let count = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        self.end(&charge.id, 200, |span| {
            span.set_attribute(KeyValue::new("gen_ai.usage.input_tokens", count(charge.usage.input)));
            span.set_attribute(KeyValue::new("gen_ai.usage.output_tokens", count(charge.usage.output)));
            span.set_attribute(KeyValue::new(
                "gen_ai.usage.cache_read.input_tokens",
                count(charge.usage.cached),
            ));
            if !charge.complete {
                span.set_status(Status::error("cut off"));
            }
        });
    }

    /// It was not answered.
    pub fn refused(&mut self, id: &str, refusal: &Refusal) {
        let status = refusal.status();
        self.end(id, status.as_u16(), |span| {
            span.set_attribute(KeyValue::new("error.type", status.as_str().to_owned()));
            if status.is_server_error() {
                span.set_status(Status::error(status.to_string()));
            }
        });
    }

    /// The client left with nothing.
    pub fn left(&mut self, id: &str) {
        self.end(id, 499, |span| span.set_status(Status::error("the client left")));
    }

    fn end(&mut self, id: &str, status: u16, more: impl FnOnce(&mut opentelemetry_sdk::trace::Span)) {
        let Some(span) = &mut self.span else { return };
        span.set_attribute(KeyValue::new("gen_ai.response.id", id.to_owned()));
        span.set_attribute(KeyValue::new("http.response.status_code", i64::from(status)));
        more(span);
        span.end();
    }
}
