//! Where a model's chat template stands: `chat_template.jinja`, or `chat_template` in `tokenizer_config.json`.

use crate::{Error, Result};
use grice_model::without_bom;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

const TEMPLATE: &str = "chat_template.jinja";
const CONFIG: &str = "tokenizer_config.json";
const TOKENS: &str = "special_tokens_map.json";
/// Of several templates, the one for conversations without tools.
const DEFAULT: &str = "default";

/// A template, and the special tokens that it writes by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ChatFiles {
    pub(crate) template: String,
    pub(crate) tokens: BTreeMap<String, String>,
    /// Where the template stands, for errors.
    pub(crate) place: String,
}

/// Reads the files of a folder; `bytes` gives those that there are, and `place` their paths for errors. `None` without a template.
///
/// # Errors
/// [`Error::BundleFile`] for files that cannot be read.
pub(crate) fn read(
    bytes: &dyn Fn(&str) -> Result<Option<Vec<u8>>>,
    place: &dyn Fn(&str) -> String,
) -> Result<Option<ChatFiles>> {
    let told = |file: &str, cause: String| Error::BundleFile { path: place(file), cause };
    let object = |file: &str| -> Result<Map<String, Value>> {
        let Some(json) = bytes(file)? else { return Ok(Map::new()) };
        serde_json::from_slice(without_bom(&json)).map_err(|error| told(file, error.to_string()))
    };
    let config = object(CONFIG)?;
    let own = match bytes(TEMPLATE)? {
        Some(text) => {
            Some(String::from_utf8(text).map_err(|error| told(TEMPLATE, format!("it is not UTF-8: {error}")))?)
        }
        None => None,
    };
    let (file, template) = match own {
        Some(template) => (TEMPLATE, Some(template)),
        None => (CONFIG, template_in(&config).map_err(|cause| told(CONFIG, cause))?),
    };
    let Some(template) = template else { return Ok(None) };
    let mut tokens = tokens_in(&object(TOKENS)?);
    tokens.append(&mut tokens_in(&config));
    Ok(Some(ChatFiles { template, tokens, place: place(file) }))
}

/// A text, or a list of templates with names.
fn template_in(config: &Map<String, Value>) -> Result<Option<String>, String> {
    match config.get("chat_template") {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(template)) => Ok(Some(template.clone())),
        Some(Value::Array(named)) => {
            let default = named.iter().find(|entry| entry["name"] == DEFAULT);
            let template = default.and_then(|entry| entry["template"].as_str()).map(str::to_owned);
            template.map(Some).ok_or_else(|| format!("`chat_template` has none called `{DEFAULT}`"))
        }
        Some(_) => Err("`chat_template` must be a text, or a list of objects with `name` and `template`".to_owned()),
    }
}

/// `bos_token` and the like: texts, or objects with `content`.
fn tokens_in(fields: &Map<String, Value>) -> BTreeMap<String, String> {
    let token = |(name, value): (&String, &Value)| {
        let text = value.as_str().or_else(|| value["content"].as_str())?;
        name.ends_with("_token").then(|| (name.clone(), text.to_owned()))
    };
    fields.iter().filter_map(token).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn read_from(files: &[(&str, &str)]) -> Result<Option<ChatFiles>> {
        let bytes =
            |file: &str| Ok(files.iter().find(|(name, _)| *name == file).map(|(_, text)| text.as_bytes().to_vec()));
        read(&bytes, &|file| format!("model/{file}"))
    }

    #[test]
    fn templates_are_found_where_makers_put_them() {
        assert_eq!(read_from(&[]).unwrap(), None);
        assert_eq!(read_from(&[(CONFIG, r#"{"bos_token": "<s>"}"#)]).unwrap(), None);
        let config = r#"{"chat_template": "a", "bos_token": "<s>", "eos_token": {"content": "</s>"}, "pad_token": null, "add_bos_token": true}"#;
        let found = read_from(&[(CONFIG, config)]).unwrap().unwrap();
        assert_eq!((found.template.as_str(), found.place.as_str()), ("a", "model/tokenizer_config.json"));
        let tokens: Vec<(&str, &str)> =
            found.tokens.iter().map(|(name, token)| (name.as_str(), token.as_str())).collect();
        assert_eq!(tokens, [("bos_token", "<s>"), ("eos_token", "</s>")]);
        // The file of its own comes first, and the configuration's tokens before those of the map.
        let map = r#"{"bos_token": "<other>", "unk_token": "<unk>"}"#;
        let found = read_from(&[(CONFIG, config), (TEMPLATE, "b"), (TOKENS, map)]).unwrap().unwrap();
        assert_eq!((found.template.as_str(), found.place.as_str()), ("b", "model/chat_template.jinja"));
        assert_eq!((found.tokens["bos_token"].as_str(), found.tokens["unk_token"].as_str()), ("<s>", "<unk>"));
        let list =
            r#"{"chat_template": [{"name": "tool_use", "template": "t"}, {"name": "default", "template": "d"}]}"#;
        assert_eq!(read_from(&[(CONFIG, list)]).unwrap().unwrap().template, "d");
    }

    #[test]
    fn what_is_wrong_is_named_with_its_file() {
        for (config, words) in [
            ("{", "model/tokenizer_config.json: EOF"),
            (r#"{"chat_template": 7}"#, "`chat_template` must be a text"),
            (r#"{"chat_template": [{"name": "x", "template": "y"}]}"#, "none called `default`"),
        ] {
            let told = read_from(&[(CONFIG, config)]).unwrap_err().to_string();
            assert!(told.contains(words), "{told}");
        }
    }
}
