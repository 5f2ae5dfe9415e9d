//! A tiny model that can be talked to: one that writes texts, in a folder with a chat template.

use grice_core::generate::{Choice, Event};
use grice_core::{Memory, Message, Role, Writer};
use grice_server::WriterSource;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Its words are those of the tiny models' vocabulary.
const TEMPLATE: &str = "{{ bos_token }}{% for message in messages %}
{% if message.role == 'assistant' and loop.first %}{{ raise_exception('The user speaks first.') }}{% endif %}
 {{ {'system': 'w20', 'user': 'w21', 'assistant': 'w22'}[message.role] }} {{ message.content }} {{ eos_token }}
{%- endfor %}
{% if add_generation_prompt %} w22{% endif %}";

/// The model's folder; it is gone when this is dropped.
pub(crate) struct Chatty {
    folder: tempfile::TempDir,
}

impl Chatty {
    /// A model of this family, called `chatty`.
    pub(crate) fn new(family: &str) -> Chatty {
        let folder = tempfile::tempdir().unwrap();
        for file in std::fs::read_dir(grice_testkit::generators::folder(family)).unwrap() {
            let file = file.unwrap();
            std::fs::copy(file.path(), folder.path().join(file.file_name())).unwrap();
        }
        let config = json!({ "chat_template": TEMPLATE, "bos_token": "<s>", "eos_token": { "content": "</s>" } });
        std::fs::write(folder.path().join("tokenizer_config.json"), config.to_string()).unwrap();
        Chatty { folder }
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn source(&self) -> WriterSource {
        WriterSource::new(Some("chatty".to_owned()), PathBuf::from(self.path()), None)
    }

    /// What the library writes after a conversation of the user and the model, in an engine of its own: text, finish reason, tokens of the
    /// prompt, tokens of the text.
    pub(crate) fn alone(&self, messages: &[&str], choice: &Choice) -> (String, &'static str, usize, usize) {
        let writer = Writer::open(self.path(), None).unwrap();
        let message = |(place, text): (usize, &&str)| Message {
            role: if place % 2 == 0 { Role::User } else { Role::Assistant },
            content: (*text).to_owned(),
        };
        let messages: Vec<Message> = messages.iter().enumerate().map(message).collect();
        let start = writer.start_chat(&messages, Duration::ZERO).unwrap();
        let prompt_tokens = start.prompt.len();
        let (mut engine, mut courses) = writer.engine(1, Memory::Tokens(2000)).unwrap();
        let options = Arc::new(writer.options_for(choice, || panic!("no seed was given")).unwrap());
        courses.add(Arc::clone(&options), start, Some(writer.speller())).unwrap();
        let mut answer = None;
        let tell = |event: Event<'_>| {
            if let Event::Done(_, texts) = event {
                let text = writer.written(&texts[0], &options.stop_strings);
                answer = Some((text, texts[0].reason.name(), prompt_tokens, texts[0].tokens.len()));
            }
        };
        writer.run(&mut engine, &mut courses, tell).unwrap();
        answer.unwrap()
    }
}

/// A conversation as clients send it.
pub(crate) fn messages(texts: &[&str]) -> Value {
    let role = |place: usize| if place.is_multiple_of(2) { "user" } else { "assistant" };
    let message = |(place, text): (usize, &&str)| json!({ "role": role(place), "content": text });
    texts.iter().enumerate().map(message).collect()
}

/// The events of a stream; `[DONE]` is a text.
#[track_caller]
pub(crate) fn events(text: &str) -> Vec<Value> {
    assert!(text.ends_with("\n\n"), "half an event: {text}");
    let event = |event: &str| -> Value {
        let data = event.strip_prefix("data: ").unwrap_or_else(|| panic!("{event}"));
        if data == "[DONE]" { data.into() } else { serde_json::from_str(data).unwrap() }
    };
    text.split_terminator("\n\n").map(event).collect()
}
