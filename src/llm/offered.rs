//! A model as its server's list describes it: id, and what some gateways tell besides (window, prices, inputs).

use crate::domain::Usage;
use serde_json::Value;

/// A model a server offers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct OfferedModel {
    /// Its id.
    pub id: String,
    /// Tokens it reads at most, if told.
    pub context: Option<u64>,
    /// What its tokens cost, if told.
    pub price: Option<Price>,
    /// Whether it reads images, if told.
    pub images: Option<bool>,
}

/// Prices in US dollars for each token.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Price {
    /// A token sent.
    pub input: f64,
    /// A token received.
    pub output: f64,
    /// A token sent that the provider had in its cache.
    pub cached: f64,
}

impl OfferedModel {
    /// Reads an entry of `/models`. Gateways spell what goes beyond the id in their own ways.
    pub(super) fn read(entry: &Value) -> Option<Self> {
        let id = entry.get("id").or_else(|| entry.get("name"))?.as_str()?.to_owned();
        let context = [
            "/context_length",
            "/context_window",
            "/max_model_len",
            "/max_context_length",
            "/meta/n_ctx",
            "/meta/n_ctx_train",
        ]
        .iter()
        .find_map(|path| entry.pointer(path).and_then(Value::as_u64))
        .filter(|tokens| *tokens > 0);
        let inputs = ["/architecture/input_modalities", "/input_modalities", "/modalities/input"];
        let inputs = inputs.iter().find_map(|path| entry.pointer(path).and_then(Value::as_array));
        let tagged = |path: &str| {
            let list = entry.pointer(path).and_then(Value::as_array)?;
            list.iter().any(|tag| tag == "vision" || tag == "multimodal").then_some(true)
        };
        let images = inputs
            .map(|list| list.iter().any(|kind| kind == "image"))
            .or_else(|| entry.pointer("/capabilities/vision").and_then(Value::as_bool))
            .or_else(|| tagged("/tags"))
            .or_else(|| tagged("/capabilities"));
        Some(Self { id, context, price: entry.get("pricing").and_then(Price::read), images })
    }
}

impl Price {
    fn read(pricing: &Value) -> Option<Self> {
        let number = |keys: &[&str]| {
            keys.iter().find_map(|key| match pricing.get(*key)? {
                Value::String(text) => text.parse::<f64>().ok(),
                other => other.as_f64(),
            })
        };
        let input = number(&["prompt", "input"])?;
        let output = number(&["completion", "output"])?;
        let cached = number(&["input_cache_read", "cached_input", "cache_read"]).unwrap_or(input);
        let sane = |price: f64| price.is_finite() && price >= 0.0;
        (sane(input) && sane(output) && sane(cached)).then_some(Self { input, output, cached })
    }

    /// What an answer cost, in millionths of a dollar.
    pub fn of(&self, usage: &Usage) -> Option<u64> {
        let cached = usage.cached_tokens.min(usage.input_tokens);
        let fresh = usage.input_tokens - cached;
        Usage::micro_usd(
            fresh as f64 * self.input + cached as f64 * self.cached + usage.output_tokens as f64 * self.output,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_gateways_tell_is_understood_in_their_own_words() {
        let openrouter = json!({"id": "a/b", "context_length": 200_000, "architecture": {"input_modalities": ["text", "image"]},
            "pricing": {"prompt": "0.000003", "completion": "0.000015"}});
        let got = OfferedModel::read(&openrouter).unwrap();
        assert_eq!((got.context, got.images), (Some(200_000), Some(true)));
        let usage = Usage { input_tokens: 1_000_000, output_tokens: 100_000, cached_tokens: 0, cost: None };
        assert_eq!(got.price.unwrap().of(&usage), Some(4_500_000));

        let vercel = json!({"id": "a/c", "context_window": 1000, "pricing": {"input": "0.000002", "output": "0.00001", "input_cache_read": "0.0000002"}});
        let price = OfferedModel::read(&vercel).unwrap().price.unwrap();
        let usage = Usage { input_tokens: 1_000_000, output_tokens: 0, cached_tokens: 1_000_000, cost: None };
        assert_eq!(price.of(&usage), Some(200_000));

        let images = |entry: Value| OfferedModel::read(&entry).unwrap().images;
        assert_eq!(images(json!({"id": "m", "capabilities": {"vision": false}})), Some(false));
        assert_eq!(images(json!({"id": "m", "capabilities": ["completion", "multimodal"]})), Some(true));
        assert_eq!(images(json!({"id": "m", "tags": ["tool-use"]})), None);

        let vllm = json!({"id": "x", "max_model_len": 8192});
        assert_eq!(
            OfferedModel::read(&vllm).unwrap(),
            OfferedModel { id: "x".to_owned(), context: Some(8192), ..OfferedModel::default() }
        );
        assert_eq!(OfferedModel::read(&json!({"object": "model"})), None);
        assert_eq!(
            OfferedModel::read(&json!({"id": "y", "pricing": {"prompt": "-1", "completion": "0"}})).unwrap().price,
            None
        );
    }
}
