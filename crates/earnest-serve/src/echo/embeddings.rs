//! `/v1/embeddings`: vectors of length one that follow from the text alone, and mean nothing.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::ask::{Ask, Fault};
use super::completions::inputs;
use super::words::count;
use super::{Received, Shared};

/// Numbers of a vector, where none are asked for.
const DIMENSIONS: u64 = 256;

pub(super) async fn answer(State(echo): Shared, body: Received) -> Result<Response, Fault> {
    let ask = Ask::read(&echo, body)?;
    let inputs = inputs(ask.wanted("input")?, "input")?;
    if inputs.iter().any(String::is_empty) {
        return Err(Fault::field("input", "no text in it can be empty"));
    }
    let dimensions = ask.number("dimensions", 1, 4_096)?.unwrap_or(DIMENSIONS);
    let packed = match ask.text("encoding_format")? {
        None | Some("float") => false,
        Some("base64") => true,
        Some(_) => return Err(Fault::field("encoding_format", "float or base64 is expected")),
    };
    let tokens: u64 = inputs.iter().map(|input| count(input)).sum();
    echo.write(1).await;
    let each = |(index, input): (usize, &String)| {
        let vector = vector(input, usize::try_from(dimensions).expect("at most 4,096"));
        let embedding = match packed {
            true => {
                Value::from(STANDARD.encode(vector.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<_>>()))
            }
            false => json!(vector),
        };
        json!({"object": "embedding", "index": index, "embedding": embedding})
    };
    Ok(Json(json!({
        "object": "list",
        "data": inputs.iter().enumerate().map(each).collect::<Vec<_>>(),
        "model": ask.model,
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    }))
    .into_response())
}

fn vector(text: &str, dimensions: usize) -> Vec<f32> {
    let seed = Sha256::digest(text);
    let mut numbers = Vec::with_capacity(dimensions + 16);
    let mut block = 0_u64;
    while numbers.len() < dimensions {
        let hash = Sha256::new().chain_update(seed).chain_update(block.to_be_bytes()).finalize();
        let pairs = hash.chunks_exact(2).map(|pair| i16::from_be_bytes([pair[0], pair[1]]));
        // Halves, so that not all of them can be zero.
        numbers.extend(pairs.map(|number| f32::from(number) + 0.5));
        block += 1;
    }
    numbers.truncate(dimensions);
    let length = numbers.iter().map(|x| x * x).sum::<f32>().sqrt();
    numbers.iter().map(|x| x / length).collect()
}
