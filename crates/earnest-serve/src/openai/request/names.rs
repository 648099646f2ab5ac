//! The names of fields that bound, multiply or redirect the work: which are known, and which are refused.

use serde_json::value::RawValue;

use super::{BadRequest, bad};

/// Fields that are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    Model,
    Stream,
    Echo,
    StreamOptions,
    Bound(&'static str),
    Times(&'static str),
    Prompt,
    Read,
    Messages,
    Tools,
    /// For the template of a chat.
    Template,
    State(&'static str),
    Refused(&'static str),
    Tier,
    /// Nobody knows it, and it sounds costly.
    Unknown,
    Other,
}

impl What {
    /// What a model reads as what was said to it.
    pub(super) fn is_read(self) -> bool {
        matches!(self, What::Prompt | What::Messages)
    }

    /// By the name as loose parsers take it: some do not tell `Model` from `model` (Go's), `maxTokens` from `max_tokens`.
    /// With it the one way to write it.
    fn named(folded: &str) -> (Self, &'static str) {
        let bound = |name| (What::Bound(name), name);
        let times = |name| (What::Times(name), name);
        let state = |name| (What::State(name), name);
        let refused = |name| (What::Refused(name), name);
        match folded {
            "model" => (What::Model, "model"),
            "stream" => (What::Stream, "stream"),
            "echo" => (What::Echo, "echo"),
            "streamoptions" => (What::StreamOptions, "stream_options"),
            "maxtokens" => bound("max_tokens"),
            "maxcompletiontokens" => bound("max_completion_tokens"),
            "maxoutputtokens" => bound("max_output_tokens"),
            "maxnewtokens" => bound("max_new_tokens"),
            "maxlength" => bound("max_length"),
            "maxgenlen" => bound("max_gen_len"),
            "maxtokenstosample" => bound("max_tokens_to_sample"),
            "npredict" => bound("n_predict"),
            "numpredict" => bound("num_predict"),
            "mintokens" => bound("min_tokens"),
            "minnewtokens" => bound("min_new_tokens"),
            "minlength" => bound("min_length"),
            "n" => times("n"),
            "bestof" => times("best_of"),
            "ncmpl" => times("n_cmpl"),
            "numreturnsequences" => times("num_return_sequences"),
            "numgenerations" => times("num_generations"),
            "candidatecount" => times("candidate_count"),
            "numbeams" => times("num_beams"),
            "beamwidth" => times("beam_width"),
            "prompt" => (What::Prompt, "prompt"),
            "messages" => (What::Messages, "messages"),
            "documents" => (What::Read, "documents"),
            "chattemplatekwargs" => (What::Template, "chat_template_kwargs"),
            "chattemplate" => refused("chat_template"),
            "prompttemplate" => refused("prompt_template"),
            "promptid" => refused("prompt_id"),
            "mmprocessorkwargs" => refused("mm_processor_kwargs"),
            "mediaiokwargs" => refused("media_io_kwargs"),
            "input" => (What::Prompt, "input"),
            "instructions" => (What::Read, "instructions"),
            "system" => (What::Read, "system"),
            "suffix" => (What::Read, "suffix"),
            "functions" => (What::Read, "functions"),
            "responseformat" => (What::Read, "response_format"),
            "text" => (What::Read, "text"),
            "tools" => (What::Tools, "tools"),
            "servicetier" => (What::Tier, "service_tier"),
            "background" => state("background"),
            "conversation" => state("conversation"),
            "previousresponseid" => state("previous_response_id"),
            // Bounds of other names within, other models, other keys, and work of the server's own.
            "extrabody" => refused("extra_body"),
            "options" => refused("options"),
            "parameters" => refused("parameters"),
            "generationconfig" => refused("generation_config"),
            "models" => refused("models"),
            "fallbacks" => refused("fallbacks"),
            "contextwindowfallbackdict" => refused("context_window_fallback_dict"),
            "route" => refused("route"),
            "provider" => refused("provider"),
            "plugins" => refused("plugins"),
            "apibase" => refused("api_base"),
            "apikey" => refused("api_key"),
            "baseurl" => refused("base_url"),
            "customllmprovider" => refused("custom_llm_provider"),
            "usebeamsearch" => refused("use_beam_search"),
            "websearchoptions" => refused("web_search_options"),
            "searchparameters" => refused("search_parameters"),
            "enablesearch" => refused("enable_search"),
            "samplingparams" => refused("sampling_params"),
            "nvext" => refused("nvext"),
            "inferenceconfig" => refused("inference_config"),
            "modelkwargs" => refused("model_kwargs"),
            "generationkwargs" => refused("generation_kwargs"),
            "userconfig" => refused("user_config"),
            "modellist" => refused("model_list"),
            "modelid" => refused("model_id"),
            "deploymentid" => refused("deployment_id"),
            "lorapath" => refused("lora_path"),
            "cachedcontent" => state("cached_content"),
            "contextid" => state("context_id"),
            "datasources" => refused("data_sources"),
            "vectorstoreids" => refused("vector_store_ids"),
            "mockresponse" => refused("mock_response"),
            "timeout" => refused("timeout"),
            "priority" => refused("priority"),
            "kvtransferparams" => refused("kv_transfer_params"),
            "bootstraphost" => refused("bootstrap_host"),
            "extraheaders" => refused("extra_headers"),
            "extraquery" => refused("extra_query"),
            _ => (What::Other, ""),
        }
    }

    /// Whether a name that nobody has looked at yet sounds as if it bounded or multiplied the work.
    fn sounds_costly(folded: &str) -> bool {
        let has = |words: &[&str]| words.iter().any(|word| folded.contains(word));
        let counts = has(&["max", "min", "num"])
            && has(&[
                "tokens",
                "length",
                "output",
                "completion",
                "sample",
                "candidate",
                "result",
                "sequence",
                "response",
            ]);
        counts || has(&["fallback", "budget", "search", "retries"]) || (folded.starts_with("tokensto"))
    }

    pub(super) fn of(name: &str) -> Result<Self, BadRequest> {
        if name.len() > 64 {
            return Ok(What::Other);
        }
        let folded: String = name
            .chars()
            .filter(|letter| !['_', '-'].contains(letter))
            .map(|letter| match letter {
                'ſ' => 's',
                '\u{212a}' => 'k', // the sign of the Kelvin
                letter => letter.to_ascii_lowercase(),
            })
            .collect();
        let (what, right) = What::named(&folded);
        if what != What::Other && name != right {
            let why = format!("the field {name:?} is refused: some providers take it for {right:?}");
            return Err(bad(why, Some(name)));
        }
        if what == What::Other && What::sounds_costly(&folded) {
            return Ok(What::Unknown);
        }
        Ok(what)
    }
}

/// A number that counts: 5.0 is 5; none where it is `null`.
pub(super) fn counts(name: &str, raw: &RawValue) -> Result<Option<u64>, BadRequest> {
    let text = raw.get();
    if text == "null" {
        return Ok(None);
    }
    let digits = text.strip_suffix(".0").unwrap_or(text);
    match digits.parse::<u64>() {
        Ok(0) => Err(bad(
            format!("{name} is 0: some providers take that for no bound; leave it out or ask for 1"),
            Some(name),
        )),
        Ok(count) => Ok(Some(count)),
        Err(_) => Err(bad(format!("{name} is no count of at least 1"), Some(name))),
    }
}
