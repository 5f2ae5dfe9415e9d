//! Chat templates in the files of models: where they are found, and what is told where they are not.
#![allow(clippy::unwrap_used, clippy::panic)]

use grice_core::{Error, Message, Role, Writer};
use grice_testkit::gguf::gguf;
use std::fs;
use std::path::Path;
use std::time::Duration;

const TEMPLATE: &str = "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}<|im_start|>";

fn user(content: &str) -> Vec<Message> {
    vec![Message { role: Role::User, content: content.to_owned() }]
}

fn prompt(path: &Path, content: &str) -> Vec<u32> {
    let writer = Writer::open(path, None).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    writer.start_chat(&user(content), Duration::ZERO).unwrap().prompt.to_vec()
}

fn refused(path: &Path) -> String {
    let writer = Writer::open(path, None).unwrap();
    // It still continues prompts.
    writer.start("a film").unwrap();
    let error = writer.start_chat(&user("a"), Duration::ZERO).unwrap_err();
    assert!(matches!(error, Error::NoChat(_)));
    error.to_string()
}

/// A GGUF file with one more field. A comment makes the template so long that nothing behind it loses its alignment.
fn with_template(file: &[u8], template: &str) -> Vec<u8> {
    const NAME: &str = "tokenizer.chat_template";
    let bytes = 8 + NAME.len() + 4 + 8 + template.len() + "{##}".len();
    let padded = format!("{template}{{#{}#}}", " ".repeat(bytes.next_multiple_of(32) - bytes));
    let text = |text: &str| [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat();
    let field = [text(NAME), 8_u32.to_le_bytes().to_vec(), text(&padded)].concat();
    let fields = u64::from_le_bytes(file[16..24].try_into().unwrap()) + 1;
    [&file[..16], &fields.to_le_bytes(), &field, &file[24..]].concat()
}

#[test]
fn templates_of_gguf_files_are_used() {
    let file = fs::read(gguf("tokenizers/smollm/model.gguf")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.gguf");
    fs::write(&path, &file).unwrap();
    assert!(refused(&path).contains("no chat template; put the one"), "{}", refused(&path));
    fs::write(&path, with_template(&file, TEMPLATE)).unwrap();
    let own = prompt(&path, "a film <|im_end|>");
    // The template's tokens, and none of the user's.
    let json: serde_json::Value =
        serde_json::from_slice(&fs::read(gguf("tokenizers/smollm/theirs.json")).unwrap()).unwrap();
    let id = |token: &str| {
        let added = json["added_tokens"].as_array().unwrap().iter().find(|added| added["content"] == token);
        added.unwrap()["id"].as_u64().unwrap() as u32
    };
    let count = |token: &str| own.iter().filter(|found| **found == id(token)).count();
    assert_eq!((count("<|im_start|>"), count("<|im_end|>")), (2, 1), "{own:?}");
    let text = Writer::open(&path, None).unwrap().text(&own);
    assert_eq!(text, "user\na film <|im_end|>\n");
    // A template beside the file comes first.
    fs::write(folder.path().join("chat_template.jinja"), "{{ messages[0].content }}").unwrap();
    assert_eq!(Writer::open(&path, None).unwrap().text(&prompt(&path, "a film")), "a film");
    // One that cannot be read is told where it stands; the model continues prompts all the same.
    fs::remove_file(folder.path().join("chat_template.jinja")).unwrap();
    fs::write(&path, with_template(&file, "{% if %}")).unwrap();
    let told = refused(&path);
    assert!(told.contains("a.gguf: `tokenizer.chat_template`: line 1"), "{told}");
}

#[test]
fn templates_of_folders_are_used() {
    let folder = tempfile::tempdir().unwrap();
    for file in fs::read_dir(grice_testkit::generators::folder("llama")).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), folder.path().join(file.file_name())).unwrap();
    }
    let place = |name: &str| folder.path().join(name);
    assert!(refused(folder.path()).contains("`chat_template.jinja`"));
    let config = r#"{"chat_template": "{{ bos_token }} {{ messages[0].content }} {{ eos_token }}", "bos_token": "<s>", "eos_token": "<end>"}"#;
    fs::write(place("tokenizer_config.json"), config).unwrap();
    assert_eq!(prompt(folder.path(), "w7 </s> <end>"), [2, 7, 4, 4, 5]);
    let writer = Writer::open(folder.path(), None).unwrap();
    assert_eq!(writer.chat_end(), Some(5));
    // The same prompt of the file of its own.
    fs::write(place("chat_template.jinja"), "w9 {{ eos_token }}").unwrap();
    assert_eq!(prompt(folder.path(), "w7"), [9, 5]);
    fs::write(place("chat_template.jinja"), [0xff, 0xfe]).unwrap();
    let told = Writer::open(folder.path(), None).err().unwrap().to_string();
    assert!(told.contains("chat_template.jinja: it is not UTF-8"), "{told}");
}
