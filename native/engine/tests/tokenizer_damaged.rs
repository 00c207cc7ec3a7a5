//! Damaged tokenizer files are typed errors or tokenizers that can be used; nothing panics.

use std::{fs, path::PathBuf};

use random::Random;
use serde_json::{Value, json};
use viva_tensor_engine::{
    checkpoint::metadata::{Metadata, Value as Meta},
    error::Error,
    tokenizer::{TextStream, Tokenizer},
};

mod random;

fn file(folder: &str, name: &str) -> Vec<u8> {
    fs::read(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../test/fixtures/tiny").join(folder).join(name))
        .unwrap()
}

fn is_typed(error: &Error) -> bool {
    matches!(error, Error::Malformed { .. } | Error::Unsupported { .. })
}

/// Puts a tokenizer through its work; it may refuse, but only in words.
fn exercise(tokenizer: Tokenizer, at: usize) {
    let tokenizer = std::sync::Arc::new(tokenizer);
    for text in ["Hello  world 123", "naïve – 日本 🙂\n\n<s>x</s><|eot_id|>", ""] {
        match tokenizer.encode(text, true) {
            Ok(ids) => {
                let _ =
                    tokenizer.decode(&ids, true).map_err(|error| assert!(is_typed(&error), "mutant {at}: {error:?}"));
                let mut stream = TextStream::new(tokenizer.clone(), vec!["wor".into()]).unwrap();
                for id in ids {
                    let _ = stream.push(id).map_err(|error| assert!(is_typed(&error), "mutant {at}: {error:?}"));
                }
                let _ = stream.finish();
            }
            Err(error) => assert!(is_typed(&error), "mutant {at}: {error:?}"),
        }
        let _ = tokenizer
            .encode_provenance(text, &[0..1.min(text.len()), 2.min(text.len())..3.min(text.len())])
            .map_err(|error| assert!(is_typed(&error), "mutant {at}: {error:?}"));
    }
}

/// Every value in a document, by its path.
fn paths(value: &Value, path: &str, out: &mut Vec<String>) {
    out.push(path.to_owned());
    match value {
        Value::Object(map) => {
            // Vocabularies are all alike inside.
            for (key, value) in map.iter().take(40) {
                paths(value, &format!("{path}/{}", key.replace('~', "~0").replace('/', "~1")), out);
            }
        }
        Value::Array(list) => {
            for (at, value) in list.iter().enumerate().take(12) {
                paths(value, &format!("{path}/{at}"), out);
            }
        }
        _ => {}
    }
}

fn replacements() -> Vec<Value> {
    vec![
        json!(null),
        json!(0),
        json!(-1),
        json!(4_294_967_295u64),
        json!(4_294_967_296u64),
        json!(1e300),
        json!(""),
        json!("日本"),
        json!([]),
        json!({}),
        json!([[]]),
        json!("BPE"),
        json!("Unigram"),
        json!("WordPiece"),
        json!("WordLevel"),
        json!("ByteLevel"),
        json!(["a", "b"]),
        json!({"a": 1, "b": 1}),
        json!([["a", 0.5], ["<unk>", -1.0]]),
        json!({"type": "Fuse"}),
        json!({"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": true}),
        json!({"type": "Strip", "content": " ", "start": 2, "stop": 3}),
        json!({"type": "Replace", "pattern": {"String": ""}, "content": "ab"}),
        json!({"type": "Replace", "pattern": {"Regex": "(a*)*b"}, "content": "x"}),
        json!({"type": "Split", "pattern": {"Regex": "("}, "behavior": "Isolated", "invert": false}),
        json!({"type": "CTC", "pad_token": "<s>", "word_delimiter_token": "|", "cleanup": true}),
        json!({"type": "WordPiece", "prefix": "##", "cleanup": true}),
        json!({"type": "BPEDecoder", "suffix": "</w>"}),
        json!({"type": "Digits", "individual_digits": true}),
        json!({"type": "FixedLength", "length": 0}),
        json!({"type": "NFKC"}),
        json!({"type": "Lowercase"}),
        json!({"type": "BertNormalizer"}),
        json!({"type": "Prepend", "prepend": ""}),
        json!({"type": "Sequence", "normalizers": []}),
        json!({"type": "Sequence", "pretokenizers": [{"type": "Whitespace"}]}),
    ]
}

#[test]
fn damaged_files_are_typed_errors_or_usable() {
    let mut random = Random(99);
    let (mut built, mut refused) = (0, 0);
    for folder in ["llama3", "llama2-sharded-f16"] {
        let bytes = file(folder, "tokenizer.json");
        let document: Value = serde_json::from_slice(&bytes).unwrap();
        let config: Value = serde_json::from_slice(&file(folder, "tokenizer_config.json")).unwrap();
        let mut places = Vec::new();
        paths(&document, "", &mut places);
        // Most of a file is vocabulary; its other parts matter more.
        let (inside, outside): (Vec<String>, Vec<String>) = places
            .into_iter()
            .partition(|path| path.starts_with("/model/vocab/") || path.starts_with("/model/merges/"));
        let values = replacements();
        for at in 0..1000 {
            let mutant = if at % 3 == 0 {
                let mut bytes = bytes.clone();
                for _ in 0..1 + random.below(3) {
                    let place = random.below(bytes.len());
                    match random.below(4) {
                        0 => bytes.truncate(place.max(1)),
                        1 => bytes[place] ^= 1 << random.below(8),
                        2 => drop(bytes.drain(place..(place + random.below(40)).min(bytes.len()))),
                        _ => bytes[place] = b"\"{}[],:0-x"[random.below(10)],
                    }
                    if bytes.is_empty() {
                        break;
                    }
                }
                bytes
            } else {
                let mut document = document.clone();
                let list = if at % 3 == 1 { &outside } else { &inside };
                let place = &list[random.below(list.len())];
                if let Some(slot) = document.pointer_mut(place) {
                    *slot = match slot {
                        // Half of the lies are of the right kind.
                        Value::Number(_) if random.below(2) == 0 => json!(random.below(600)),
                        Value::String(_) if random.below(2) == 0 => {
                            json!(["a", "", "<s>", "Ġ", "▁a", "<0x41>"][random.below(6)])
                        }
                        Value::Bool(truth) => json!(!*truth),
                        _ => values[random.below(values.len())].clone(),
                    };
                }
                document.to_string().into_bytes()
            };
            let config = if at % 2 == 0 { Some(&config) } else { None };
            match Tokenizer::from_huggingface(&mutant, config) {
                Ok(tokenizer) => {
                    built += 1;
                    exercise(tokenizer, at);
                }
                Err(error) => {
                    refused += 1;
                    assert!(is_typed(&error), "mutant {at} of {folder}: {error:?}");
                }
            }
        }
    }
    assert!(built > 200 && refused > 200, "{built} built, {refused} refused");
}

#[test]
fn damaged_configs_are_typed_errors_or_usable() {
    let mut random = Random(5);
    let bytes = file("llama2-sharded-f16", "tokenizer.json");
    let token = json!({"content": "<x>", "lstrip": true, "rstrip": true, "normalized": true, "single_word": true, "special": true});
    let config = json!({
        "bos_token": token, "eos_token": "</s>", "tokenizer_class": "LlamaTokenizer", "legacy": true,
        "added_tokens_decoder": {"0": token, "7": {"content": "<y>"}}, "additional_special_tokens": ["<z>", token],
        "clean_up_tokenization_spaces": true, "add_prefix_space": false,
    });
    let mut places = Vec::new();
    paths(&config, "", &mut places);
    let values = replacements();
    for at in 0..300 {
        let mut config = config.clone();
        for _ in 0..1 + random.below(2) {
            if let Some(slot) = config.pointer_mut(&places[random.below(places.len())]) {
                *slot = values[random.below(values.len())].clone();
            }
        }
        match Tokenizer::from_huggingface(&bytes, Some(&config)) {
            Ok(tokenizer) => exercise(tokenizer, at),
            Err(error) => assert!(is_typed(&error), "mutant {at}: {error:?}"),
        }
    }
}

#[test]
fn lying_gguf_metadata_is_a_typed_error() {
    let tokens = || Meta::Strings(["<unk>", "<s>", "</s>", "a", "b", "ab", "▁"].map(String::from).to_vec());
    let good = |model: &str| {
        let mut metadata = Metadata::default();
        let mut set = |key: &str, value: Meta| metadata.values.insert(format!("tokenizer.ggml.{key}"), value);
        set("model", Meta::String(model.into()));
        set("tokens", tokens());
        set("token_type", Meta::Integers(vec![2, 3, 3, 1, 1, 1, 1]));
        set("scores", Meta::Floats(vec![0.0, 0.0, 0.0, -1.0, -1.0, -2.0, -3.0]));
        set("merges", Meta::Strings(vec!["a b".into()]));
        set("pre", Meta::String("gpt-2".into()));
        set("bos_token_id", Meta::Unsigned(1));
        metadata
    };
    for model in ["gpt2", "llama"] {
        assert!(Tokenizer::from_gguf(&good(model)).is_ok());
        let lies: &[(&str, Option<Meta>)] = &[
            ("model", None),
            ("model", Some(Meta::String("martian".into()))),
            ("tokens", None),
            ("tokens", Some(Meta::Strings(vec![]))),
            ("tokens", Some(Meta::Integers(vec![1]))),
            ("tokens", Some(Meta::Strings(vec!["a".into()]))),
            ("token_type", Some(Meta::Integers(vec![1]))),
            ("bos_token_id", Some(Meta::Unsigned(7))),
            ("bos_token_id", Some(Meta::Unsigned(u64::MAX))),
            ("eot_token_id", Some(Meta::Unsigned(99))),
            ("eos_token_id", Some(Meta::String("</s>".into()))),
            ("eos_token_id", Some(Meta::Signed(-1))),
            ("merges", Some(Meta::Strings(vec!["ab".into()]))),
            ("merges", Some(Meta::Strings(vec!["a c".into()]))),
            ("merges", Some(Meta::Strings(vec!["ab ab".into()]))),
            ("merges", Some(Meta::Strings(vec![String::new()]))),
        ];
        for (key, lie) in lies {
            let mut metadata = good(model);
            let key = format!("tokenizer.ggml.{key}");
            match lie {
                Some(lie) => metadata.values.insert(key.clone(), lie.clone()),
                None => metadata.values.remove(&key),
            };
            let result = Tokenizer::from_gguf(&metadata);
            assert!(result.as_ref().is_err_and(is_typed), "{model}: {key} as {lie:?}: {result:?}");
        }
    }
    let mut metadata = good("gpt2");
    metadata.values.insert("tokenizer.ggml.pre".into(), Meta::String("martian".into()));
    assert!(matches!(Tokenizer::from_gguf(&metadata), Err(Error::Unsupported { .. })));
    let mut metadata = good("llama");
    metadata.values.remove("tokenizer.ggml.merges");
    metadata.values.insert("tokenizer.ggml.scores".into(), Meta::Floats(vec![f32::NAN; 7]));
    assert!(Tokenizer::from_gguf(&metadata).is_ok());
    metadata.values.insert("tokenizer.ggml.scores".into(), Meta::Floats(vec![0.0]));
    assert!(Tokenizer::from_gguf(&metadata).is_err_and(|error| is_typed(&error)));
}

#[test]
fn too_much_text_is_refused() {
    let tokenizer = Tokenizer::from_huggingface(&file("llama", "tokenizer.json"), None).unwrap();
    let result = tokenizer.encode(&"a".repeat((16 << 20) + 1), true);
    assert!(matches!(result, Err(Error::InvalidOption { .. })));
}
