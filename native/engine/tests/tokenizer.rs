//! Tokenizers against transformers' own output for the nine tiny checkpoints.

use std::{fs, path::PathBuf, sync::Arc};

use random::Random;
use serde_json::Value;
use viva_tensor_engine::{
    checkpoint::{
        Checkpoint, Description, HuggingFace,
        metadata::{Metadata, Value as Meta},
    },
    error::Error,
    tokenizer::{TextStream, Tokenizer},
};

mod random;

const TINY: [&str; 9] =
    ["gemma3", "llama", "llama2-sharded-f16", "llama3", "mistral", "phi2", "phi3", "qwen2", "qwen3"];

fn path(folder: &str, name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../test/fixtures/tiny").join(folder).join(name)
}

fn json(folder: &str, name: &str) -> Value {
    serde_json::from_slice(&fs::read(path(folder, name)).unwrap()).unwrap()
}

fn tokenizer(folder: &str) -> Tokenizer {
    Tokenizer::from_checkpoint(&Checkpoint::open(&path(folder, "")).unwrap().description).unwrap()
}

fn ids(value: &Value) -> Vec<u32> {
    value.as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect()
}

fn text<'v>(value: &'v Value, key: &str) -> &'v str {
    value[key].as_str().unwrap()
}

#[test]
fn tiny_checkpoints_encode_and_decode_as_transformers_does() {
    for folder in TINY {
        let tokenizer = tokenizer(folder);
        for case in json(folder, "golden.json")["tokenize"].as_array().unwrap() {
            let input = text(case, "text");
            assert_eq!(tokenizer.encode(input, true).unwrap(), ids(&case["ids"]), "{folder}: {input:?}");
            let plain = ids(&case["ids_plain"]);
            assert_eq!(tokenizer.encode(input, false).unwrap(), plain, "{folder}: {input:?}");
            assert_eq!(tokenizer.encode_provenance(input, &[]).unwrap(), plain, "{folder}: {input:?}");
            assert_eq!(tokenizer.decode(&plain, false).unwrap(), text(case, "decoded"), "{folder}: {input:?}");
        }
    }
}

fn streamed(tokenizer: &Arc<Tokenizer>, ids: &[u32]) -> String {
    let mut stream = TextStream::new(tokenizer.clone(), Vec::new()).unwrap();
    let mut text = String::new();
    for id in ids {
        let pushed = stream.push(*id).unwrap();
        assert_eq!(pushed.stopped, None);
        text += &pushed.text;
    }
    text + &stream.finish().unwrap()
}

#[test]
fn streamed_pieces_are_the_golden_text() {
    for folder in TINY {
        let tokenizer = Arc::new(tokenizer(folder));
        for case in json(folder, "golden.json")["cases"].as_array().unwrap() {
            let generated = ids(&case["greedy_ids"]);
            assert_eq!(tokenizer.decode(&generated, true).unwrap(), text(case, "text"), "{folder}");
            assert_eq!(streamed(&tokenizer, &generated), text(case, "text"), "{folder}");
        }
    }
}

#[test]
fn streaming_any_ids_equals_decoding_them() {
    let mut random = Random(7);
    for folder in TINY {
        let tokenizer = Arc::new(tokenizer(folder));
        for _ in 0..200 {
            let count = random.below(40);
            let ids: Vec<u32> = (0..count).map(|_| random.below(tokenizer.vocab_size() + 3) as u32).collect();
            assert_eq!(streamed(&tokenizer, &ids), tokenizer.decode(&ids, true).unwrap(), "{folder}: {ids:?}");
        }
    }
}

#[test]
fn a_byte_fallback_vocabulary_streams_whole_characters() {
    // The tiny ones mark their byte tokens as special, real ones do not.
    let mut file = json("llama2-sharded-f16", "tokenizer.json");
    file["added_tokens"].as_array_mut().unwrap().truncate(3);
    let tokenizer = Arc::new(Tokenizer::from_huggingface(file.to_string().as_bytes(), None).unwrap());
    let input = "naïve – 日本語 🙂 x";
    let ids = tokenizer.encode(input, false).unwrap();
    assert_eq!(streamed(&tokenizer, &ids), input);
    let mut stream = TextStream::new(tokenizer.clone(), Vec::new()).unwrap();
    for id in &ids {
        assert!(!stream.push(*id).unwrap().text.contains('\u{FFFD}'));
    }
    let mut random = Random(11);
    for _ in 0..300 {
        let count = random.below(30);
        let ids: Vec<u32> = (0..count).map(|_| random.below(350) as u32).collect();
        assert_eq!(streamed(&tokenizer, &ids), tokenizer.decode(&ids, true).unwrap(), "{ids:?}");
    }
}

#[test]
fn stop_strings_end_a_stream_across_tokens() {
    let tokenizer = Arc::new(tokenizer("llama3"));
    let ids = tokenizer.encode("one two three four", false).unwrap();
    let mut stream = TextStream::new(tokenizer.clone(), vec!["four".into(), "o th".into()]).unwrap();
    let mut text = String::new();
    let mut stopped = None;
    for id in ids {
        let pushed = stream.push(id).unwrap();
        text += &pushed.text;
        stopped = stopped.or(pushed.stopped);
    }
    text += &stream.finish().unwrap();
    assert_eq!((text.as_str(), stopped.as_deref()), ("one tw", Some("o th")));
    assert_eq!(stream.stopped(), Some("o th"));
    assert!(matches!(TextStream::new(tokenizer, vec![String::new()]), Err(Error::InvalidOption { .. })));
}

/// The GGUF metadata that llama.cpp's converter would write for a tiny checkpoint's tokenizer.
fn gguf_of(folder: &str, model: &str, pre: &str) -> Metadata {
    let file = json(folder, "tokenizer.json");
    let vocab = file["model"]["vocab"].as_object().unwrap();
    let mut tokens = vec![String::new(); vocab.len()];
    for (token, id) in vocab {
        tokens[id.as_u64().unwrap() as usize] = token.clone();
    }
    let merges: Vec<String> = file["model"]["merges"]
        .as_array()
        .unwrap()
        .iter()
        .map(|pair| format!("{} {}", pair[0].as_str().unwrap(), pair[1].as_str().unwrap()))
        .collect();
    let kind = |token: &String| match token.as_str() {
        "<unk>" => 2,
        "<s>" | "</s>" => 3,
        token if token.starts_with("<|") => 3,
        token if token.starts_with("<0x") => 6,
        _ => 1,
    };
    let types = tokens.iter().map(kind).collect();
    let mut metadata = Metadata::default();
    let mut set = |key: &str, value: Meta| metadata.values.insert(format!("tokenizer.ggml.{key}"), value);
    set("model", Meta::String(model.into()));
    set("pre", Meta::String(pre.into()));
    set("token_type", Meta::Integers(types));
    if model == "gpt2" {
        set("merges", Meta::Strings(merges));
        set("bos_token_id", Meta::Unsigned(0));
        set("eos_token_id", Meta::Unsigned(1));
        set("add_bos_token", Meta::Bool(true));
    } else {
        // A trained SentencePiece vocabulary scores a token by when its merge was learned.
        let mut scores = vec![0f32; tokens.len()];
        for (rank, merge) in merges.iter().enumerate().rev() {
            let made = merge.replacen(' ', "", 1);
            if let Some(at) = tokens.iter().position(|token| *token == made) {
                scores[at] = -(rank as f32);
            }
        }
        set("scores", Meta::Floats(scores));
        set("bos_token_id", Meta::Unsigned(1));
        set("eos_token_id", Meta::Unsigned(2));
        set("unknown_token_id", Meta::Unsigned(0));
    }
    set("tokens", Meta::Strings(tokens));
    metadata
}

#[test]
fn gguf_metadata_gives_the_same_tokenizer() {
    for (folder, model, pre) in
        [("llama3", "gpt2", "llama-bpe"), ("llama", "gpt2", "gpt-2"), ("qwen3", "gpt2", "llama-bpe")]
    {
        let tokenizer = Tokenizer::from_gguf(&gguf_of(folder, model, pre)).unwrap();
        assert_eq!(tokenizer.bos().map(|(id, _)| id), Some(0));
        for case in json(folder, "golden.json")["tokenize"].as_array().unwrap() {
            let input = text(case, "text");
            assert_eq!(tokenizer.encode(input, true).unwrap(), ids(&case["ids"]), "{folder}: {input:?}");
            let plain = ids(&case["ids_plain"]);
            assert_eq!(tokenizer.decode(&plain, false).unwrap(), text(case, "decoded"), "{folder}: {input:?}");
        }
    }
    // Phi-3's architecture has the normalizer of these tiny checkpoints.
    let mut metadata = gguf_of("phi3", "llama", "default");
    metadata.values.insert("general.architecture".into(), Meta::String("phi3".into()));
    let tokenizer = Tokenizer::from_gguf(&metadata).unwrap();
    for case in json("phi3", "golden.json")["tokenize"].as_array().unwrap() {
        let input = text(case, "text");
        assert_eq!(tokenizer.encode(input, true).unwrap(), ids(&case["ids"]), "{input:?}");
        let plain = ids(&case["ids_plain"]);
        assert_eq!(tokenizer.decode(&plain, false).unwrap(), text(case, "decoded"), "{input:?}");
    }
}

#[test]
fn configs_are_read_as_auto_tokenizer_reads_them() {
    let golden = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../test/fixtures/tokenizers/variants.json");
    let golden: Value = serde_json::from_slice(&fs::read(golden).unwrap()).unwrap();
    let golden = golden.as_array().unwrap();
    assert!(golden.len() > 70);
    for case in golden {
        let mut file = json(text(case, "source"), "tokenizer.json");
        file["added_tokens"].as_array_mut().unwrap().extend(case["added_tokens"].as_array().unwrap().iter().cloned());
        if case["drops_bytes"] == true {
            file["model"]["vocab"].as_object_mut().unwrap().retain(|token, _| !token.starts_with("<0x"));
        }
        let files = HuggingFace {
            config: serde_json::json!({"model_type": case["model_type"]}),
            tokenizer: Some(file.to_string().into_bytes()),
            tokenizer_config: Some(case["config"].clone()),
            ..HuggingFace::default()
        };
        let tokenizer = Arc::new(Tokenizer::from_checkpoint(&Description::HuggingFace(files)).unwrap());
        let what = format!("{} as {} with {}", case["source"], case["model_type"], case["config"]);
        assert_eq!(serde_json::to_value(tokenizer.named_tokens()).unwrap(), case["named"], "{what}");
        assert_eq!(tokenizer.vocab_size() as u64, case["size"].as_u64().unwrap(), "{what}");
        for sample in case["texts"].as_array().unwrap() {
            let input = text(sample, "text");
            let (with, plain) = (ids(&sample["ids"]), ids(&sample["plain"]));
            assert_eq!(tokenizer.encode(input, true).unwrap(), with, "{what}: {input:?}");
            assert_eq!(tokenizer.encode(input, false).unwrap(), plain, "{what}: {input:?}");
            assert_eq!(tokenizer.encode_provenance(input, &[]).unwrap(), plain, "{what}: {input:?}");
            assert_eq!(tokenizer.decode(&with, false).unwrap(), text(sample, "decoded"), "{what}: {input:?}");
            assert_eq!(tokenizer.decode(&with, true).unwrap(), text(sample, "skipped"), "{what}: {input:?}");
            assert_eq!(streamed(&tokenizer, &with), text(sample, "skipped"), "{what}: {input:?}");
        }
    }
}

#[test]
fn texts_that_fit_are_never_refused_by_their_length() {
    for folder in TINY {
        let (tokenizer, golden) = (tokenizer(folder), json(folder, "golden.json"));
        for case in golden["tokenize"].as_array().unwrap() {
            let limit = ids(&case["ids"]).len();
            assert_eq!(tokenizer.check_fits(text(case, "text"), limit), Ok(()), "{folder}: {case}");
        }
    }
    // Like SmolLM2's: a byte-level vocabulary that lacks a control character.
    let mut file = json("llama3", "tokenizer.json");
    assert!(file["model"]["vocab"].as_object_mut().unwrap().remove("Ā").is_some());
    let tokenizer = Tokenizer::from_huggingface(file.to_string().as_bytes(), None).unwrap();
    let (control, letters) = ("\0".repeat(100_000), "a".repeat(100_000));
    assert_eq!(tokenizer.encode(&control, false), Ok(vec![]));
    assert_eq!(tokenizer.check_fits(&control, 0), Ok(()));
    assert!(matches!(tokenizer.check_fits(&letters, 16), Err(Error::ContextOverflow { limit_tokens: 16, .. })));
}

/// A converter names one EOS; what ends a turn may be another token, marked as control (3) or as the user's own (4).
#[test]
fn gguf_names_or_spells_the_tokens_that_end_a_turn() {
    let vocabulary =
        [("<unk>", 2), ("<s>", 3), ("</s>", 3), ("<|im_end|>", 4), ("<|end|>", 3), ("<|eot_id|>", 1), ("x", 3)];
    let mut metadata = Metadata::default();
    let mut set = |key: &str, value: Meta| metadata.values.insert(format!("tokenizer.ggml.{key}"), value);
    set("model", Meta::String("llama".into()));
    set("tokens", Meta::Strings(vocabulary.iter().map(|(token, _)| (*token).into()).collect()));
    set("token_type", Meta::Integers(vocabulary.iter().map(|(_, kind)| *kind).collect()));
    set("scores", Meta::Floats(vec![0.0; vocabulary.len()]));
    set("eos_token_id", Meta::Unsigned(2));
    set("eot_token_id", Meta::Unsigned(6));
    // <|eot_id|> is a plain word of this vocabulary.
    assert_eq!(Tokenizer::from_gguf(&metadata).unwrap().eos_ids(), [2, 3, 4, 6]);
}

/// A vocabulary of plain words of one token type, with these scores.
fn sentence_piece(tokens: &[(&str, f32)]) -> Metadata {
    let mut metadata = Metadata::default();
    let mut set = |key: &str, value: Meta| metadata.values.insert(format!("tokenizer.ggml.{key}"), value);
    set("model", Meta::String("llama".into()));
    set("add_space_prefix", Meta::Bool(false));
    set("tokens", Meta::Strings(tokens.iter().map(|(token, _)| (*token).into()).collect()));
    set("scores", Meta::Floats(tokens.iter().map(|(_, score)| *score).collect()));
    set("token_type", Meta::Integers(vec![1; tokens.len()]));
    metadata
}

/// Of merges of one score that with the longer left part comes first, as transformers' generate_merges sorts them.
#[test]
fn sentence_piece_merges_of_one_score_take_the_longer_left_part() {
    let tokens = [("a", 0.0), ("b", 0.0), ("c", 0.0), ("d", 0.0), ("ab", -1.0), ("cd", -2.0), ("abc", -2.0)];
    let mut metadata = sentence_piece(&tokens);
    let tokenizer = Tokenizer::from_gguf(&metadata).unwrap();
    assert_eq!(tokenizer.encode("abcd", false), Ok(vec![6, 3]));
    assert_eq!(tokenizer.encode("cdab", false), Ok(vec![5, 4]));
    // A token that is of no use as text (5) is no step on the way to one.
    let mut unused = metadata.clone();
    unused.values.insert("tokenizer.ggml.token_type".into(), Meta::Integers(vec![1, 1, 1, 1, 5, 1, 1]));
    assert_eq!(Tokenizer::from_gguf(&unused).unwrap().encode("abcd", false), Ok(vec![0, 1, 5]));
    // What the file asks to be put around a text.
    metadata.values.insert("tokenizer.ggml.bos_token_id".into(), Meta::Unsigned(0));
    metadata.values.insert("tokenizer.ggml.eos_token_id".into(), Meta::Unsigned(1));
    let around = |metadata: &Metadata| Tokenizer::from_gguf(metadata).unwrap().encode("cd", true).unwrap();
    assert_eq!(around(&metadata), [0, 5]);
    metadata.values.insert("tokenizer.ggml.add_eos_token".into(), Meta::Bool(true));
    assert_eq!(around(&metadata), [0, 5, 1]);
    metadata.values.insert("tokenizer.ggml.add_bos_token".into(), Meta::Bool(false));
    assert_eq!(around(&metadata), [5, 1]);
}

/// Our finder of added tokens beside the crate's own: tokens that take white space, words alone, beginnings of others.
#[test]
fn added_tokens_are_found_where_the_crate_finds_them() {
    let mut file = json("llama", "tokenizer.json");
    let token = |id: u32, content: &str, sides: [bool; 3]| {
        let [lstrip, rstrip, single_word] = sides;
        serde_json::json!({"id": id, "content": content, "lstrip": lstrip, "rstrip": rstrip, "single_word": single_word,
            "normalized": false, "special": true})
    };
    let more = [
        token(512, "<l>", [true, false, false]),
        token(513, "<r>", [false, true, false]),
        token(514, "<lr>", [true, true, false]),
        token(515, "<lr><l>", [false, false, false]),
        token(516, "word", [false, false, true]),
        token(517, "<l", [false, false, false]),
    ];
    file["added_tokens"].as_array_mut().unwrap().extend(more);
    let tokenizer = Tokenizer::from_huggingface(file.to_string().as_bytes(), None).unwrap();
    let pieces = ["<l>", "<r>", "<lr>", "<lr><l>", "word", "<l", " ", "  ", "\n", "a", "é", "s"];
    let mut random = Random(0x1234_5678_9abc_def1);
    for _ in 0..4000 {
        let count = 1 + random.below(7);
        let input: String = (0..count).map(|_| random.of(&pieces)).collect();
        assert_eq!(tokenizer.encode_provenance(&input, &[]), tokenizer.encode(&input, false), "{input:?}");
    }
}

/// Composed, nine bytes become three, and here one token: no fewer tokens may be claimed for a text than it takes.
#[test]
fn texts_that_are_composed_are_never_refused_by_their_length() {
    let mut file = json("llama3", "tokenizer.json");
    file["normalizer"] = serde_json::json!({"type": "NFC"});
    let composed = "한"; // of three letters, each of three bytes
    let spelled: Vec<&str> = vec!["í", "ķ", "ľ"];
    let next = file["model"]["vocab"].as_object().unwrap().len();
    let vocab = file["model"]["vocab"].as_object_mut().unwrap();
    // Nothing longer than this one token.
    vocab.retain(|token, _| token.chars().count() < 3);
    vocab.insert("íķ".into(), next.into());
    vocab.insert("íķľ".into(), (next + 1).into());
    file["model"]["merges"] = serde_json::json!([[spelled[0], spelled[1]], ["íķ", spelled[2]]]);
    file["added_tokens"] = serde_json::json!([]);
    file["post_processor"] = Value::Null;
    let tokenizer = Tokenizer::from_huggingface(file.to_string().as_bytes(), None).unwrap();
    assert_eq!(tokenizer.encode(composed, false), Ok(vec![next as u32 + 1]));
    let decomposed = "\u{1112}\u{1161}\u{11AB}".repeat(50);
    let ids = tokenizer.encode(&decomposed, false).unwrap();
    assert_eq!(ids, vec![next as u32 + 1; 50]);
    assert_eq!(tokenizer.check_fits(&decomposed, ids.len()), Ok(()));
    assert!(tokenizer.check_fits(&decomposed.repeat(100), ids.len()).is_err());
}
