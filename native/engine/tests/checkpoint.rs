//! Checkpoints of independent writers, opened and compared with what independent readers find in them.
//!
//! The golden files are made by tools/make_safetensors_fixtures.py and tools/make_gguf_fixtures.py.

mod checkpoint_folder;

use std::path::{Path, PathBuf};

use checkpoint_folder::{Folder, fixtures};
use serde_json::Value as Json;
use viva_tensor_engine::{
    checkpoint::{
        Checkpoint, Description, TensorInfo,
        metadata::{Metadata, Value},
    },
    error::Error,
    quant::Format,
};

fn json(path: &Path) -> Json {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn open(path: impl AsRef<Path>) -> Checkpoint {
    Checkpoint::open(&fixtures().join(path)).unwrap()
}

fn metadata(checkpoint: &Checkpoint) -> &Metadata {
    match &checkpoint.description {
        Description::Gguf(metadata) => metadata,
        other => panic!("not GGUF: {other:?}"),
    }
}

/// 64-bit FNV-1a, as in the tools that write the golden files.
fn fnv1a(bytes: &[u8]) -> String {
    let step = |digest: u64, &byte: &u8| (digest ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
    format!("{:016x}", bytes.iter().fold(0xcbf2_9ce4_8422_2325, step))
}

fn numbers(shape: &Json) -> Vec<usize> {
    shape.as_array().unwrap().iter().map(|length| length.as_u64().unwrap() as usize).collect()
}

/// The first weights of a tensor in a plain float format.
fn first_weights(format: Format, bytes: &[u8]) -> Vec<f32> {
    let pair = |bytes: &[u8]| [bytes[0], bytes[1]];
    let weights: Vec<f32> = match format {
        Format::F32 => bytes.as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect(),
        Format::F16 => bytes.chunks(2).map(|bytes| half::f16::from_le_bytes(pair(bytes)).to_f32()).collect(),
        Format::Bf16 => bytes.chunks(2).map(|bytes| half::bf16::from_le_bytes(pair(bytes)).to_f32()).collect(),
        _ => Vec::new(),
    };
    weights.into_iter().take(4).collect()
}

/// Each tensor of the golden listing is there, with its shape, its file and its bytes; and no other.
fn assert_safetensors(folder: &Path, golden: &Json) {
    let checkpoint = Checkpoint::open(folder).unwrap();
    let golden = golden.as_object().unwrap();
    assert_eq!(checkpoint.tensors.len() + checkpoint.foreign.len(), golden.len());
    let files: Vec<PathBuf> = checkpoint.files().map(Path::to_path_buf).collect();
    for (name, expected) in golden {
        let Some(info) = checkpoint.tensors.get(name) else {
            assert_eq!(checkpoint.foreign[name].storage, expected["dtype"]);
            continue;
        };
        assert_eq!((&info.name, info.format.name()), (name, expected["dtype"].as_str().unwrap()));
        assert_eq!(info.shape, numbers(&expected["shape"]), "{name}");
        assert_eq!(files[info.file].file_name().unwrap().to_str(), expected["file"].as_str());
        let bytes = checkpoint.read_whole(info).unwrap();
        assert_eq!(fnv1a(&bytes), expected["fnv1a"], "{name}");
        let first: Vec<f32> =
            expected["first"].as_array().unwrap().iter().map(|weight| weight.as_f64().unwrap() as f32).collect();
        if info.format != Format::F8E4m3 {
            assert_eq!(first_weights(info.format, &bytes), first, "{name}");
        }
    }
}

#[test]
fn safetensors_agree_with_python() {
    let golden = json(&fixtures().join("safetensors/golden.json"));
    let golden = golden.as_object().unwrap();
    assert_eq!(golden.len(), 10);
    for (name, tensors) in golden {
        let folder = if name == "dtypes" { "safetensors/dtypes" } else { &format!("tiny/{name}") };
        assert_safetensors(&fixtures().join(folder), tensors);
    }
}

#[test]
fn each_way_to_name_a_model_opens_it() {
    let whole = open("tiny/llama");
    for path in ["tiny/llama/model.safetensors", "tiny/llama/"] {
        assert_eq!(open(path).tensors, whole.tensors);
    }
    let sharded = open("tiny/phi2");
    assert_eq!(sharded.files().count(), 3);
    for path in ["tiny/phi2/model.safetensors.index.json", "tiny/phi2/model-00002-of-00003.safetensors"] {
        assert_eq!(open(path).tensors, sharded.tensors);
    }
}

#[test]
fn a_whole_model_counts_before_an_index_as_in_transformers() {
    let folder = Folder::copy_of("tiny/phi2");
    std::fs::copy(fixtures().join("tiny/llama3/model.safetensors"), folder.path().join("model.safetensors")).unwrap();
    assert_eq!(Checkpoint::open(folder.path()).unwrap().tensors, open("tiny/llama3").tensors);
}

#[test]
fn the_only_shard_of_a_model_is_all_of_it() {
    let folder = Folder::copy_of("tiny/llama3");
    let only = folder.path().join("model-00001-of-00001.safetensors");
    std::fs::rename(folder.path().join("model.safetensors"), &only).unwrap();
    for path in [folder.path(), &only] {
        assert_eq!(Checkpoint::open(path).unwrap().tensors, open("tiny/llama3").tensors);
    }
}

#[test]
fn a_file_is_known_by_its_content() {
    let folder = Folder::copy_of("tiny/llama3");
    let blob = folder.path().join("sha256-0123");
    std::fs::rename(folder.path().join("model.safetensors"), &blob).unwrap();
    assert_eq!(Checkpoint::open(&blob).unwrap().tensors, open("tiny/llama3").tensors);
    std::fs::copy(fixtures().join("gguf/version_3.gguf"), &blob).unwrap();
    assert_eq!(Checkpoint::open(&blob).unwrap().tensors, open("gguf/version_2.gguf").tensors);
}

#[test]
fn threads_can_read_from_one_checkpoint() {
    let checkpoint = open("tiny/qwen3");
    let total = std::thread::scope(|scope| {
        let read = |info| checkpoint.read_whole(info).unwrap().len() as u64;
        let threads: Vec<_> = checkpoint.tensors.values().map(|info| scope.spawn(move || read(info))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum::<u64>()
    });
    assert_eq!(total, checkpoint.tensor_bytes_total());
}

#[test]
fn a_folder_of_a_hugging_face_model_is_described_by_its_json() {
    for entry in std::fs::read_dir(fixtures().join("tiny")).unwrap() {
        let folder = entry.unwrap().path();
        let Description::HuggingFace(description) = Checkpoint::open(&folder).unwrap().description else {
            panic!("{folder:?} is not described by JSON");
        };
        assert_eq!(description.config, json(&folder.join("config.json")));
        assert_eq!(description.generation_config, Some(json(&folder.join("generation_config.json"))));
        assert_eq!(description.tokenizer_config, Some(json(&folder.join("tokenizer_config.json"))));
        assert_eq!(description.tokenizer, std::fs::read(folder.join("tokenizer.json")).ok());
        assert_eq!(description.chat_template, std::fs::read_to_string(folder.join("chat_template.jinja")).ok());
    }
    let Description::HuggingFace(bare) = open("safetensors/dtypes").description else { panic!() };
    assert_eq!(
        (bare.generation_config, bare.tokenizer, bare.tokenizer_config, bare.chat_template),
        (None, None, None, None)
    );
}

#[test]
fn a_foreign_dtype_is_an_error_only_when_it_is_asked_for() {
    let checkpoint = open("safetensors/dtypes");
    assert_eq!(checkpoint.foreign.len(), 5);
    let error = checkpoint.tensor("of.I64").unwrap_err();
    assert!(matches!(&error, Error::Unsupported { found, .. } if found == "a tensor stored as I64"), "{error}");
    assert_eq!(checkpoint.optional_tensor("of.I64").unwrap_err(), error);
    let error = checkpoint.tensor("of.nothing").unwrap_err();
    assert!(matches!(&error, Error::NotFound { path, .. } if path.ends_with("tensor \"of.nothing\"")), "{error}");
    assert_eq!(checkpoint.optional_tensor("of.nothing"), Ok(None));
}

/// What gguf's reader calls a type is what the engine calls its format.
fn format_named(name: &str) -> Option<Format> {
    Format::ALL.into_iter().find(|format| format.name() == name)
}

fn assert_gguf(name: &str, checkpoint: &Checkpoint, golden: &Json) {
    for (tensor, expected) in golden["tensors"].as_object().unwrap() {
        let type_name = expected["type"].as_str().unwrap();
        let Some(format) = format_named(type_name) else {
            assert_eq!(checkpoint.foreign[tensor].storage, type_name);
            assert!(matches!(checkpoint.tensor(tensor), Err(Error::Unsupported { .. })));
            continue;
        };
        let info = checkpoint.tensor(tensor).unwrap();
        let found = (info.format, info.shape.clone(), info.offset, info.bytes);
        let (offset, bytes) = (expected["offset"].as_u64().unwrap(), expected["bytes"].as_u64().unwrap());
        assert_eq!(found, (format, numbers(&expected["shape"]), offset, bytes), "{name}: {tensor}");
        assert_eq!(fnv1a(&checkpoint.read_whole(info).unwrap()), expected["fnv1a"], "{name}: {tensor}");
    }
}

/// A value as the JSON of golden.json has it.
fn assert_value(key: &str, found: &Value, expected: &Json) {
    let floats = |list: &[f32]| Json::from(list.iter().map(|&x| f64::from(x)).collect::<Vec<f64>>());
    let found = match found {
        Value::Unsigned(number) => Json::from(*number),
        Value::Signed(number) => Json::from(*number),
        Value::Float(number) => Json::from(*number),
        Value::Bool(truth) => Json::from(*truth),
        Value::String(text) => Json::from(text.as_str()),
        Value::Integers(list) => Json::from(list.as_slice()),
        Value::Floats(list) => floats(list),
        Value::Bools(list) => Json::from(list.as_slice()),
        Value::Strings(list) => Json::from(list.as_slice()),
        other => panic!("{key}: {other:?}"),
    };
    match (expected.as_f64(), found.as_f64()) {
        (Some(expected), Some(found)) if !key.contains("int") => assert_eq!(found, expected, "{key}"),
        // 64-bit floats in arrays are kept as 32-bit ones.
        _ if key == "array.float64" => assert_eq!(found, floats(&[0.25, 1e30]), "{key}"),
        _ => assert_eq!(&found, expected, "{key}"),
    }
}

#[test]
fn gguf_agrees_with_python() {
    let golden = json(&fixtures().join("gguf/golden.json"));
    let golden = golden.as_object().unwrap();
    assert_eq!(golden.len(), 8);
    for (name, expected) in golden {
        let checkpoint = open(format!("gguf/{name}"));
        assert_gguf(name, &checkpoint, expected);
        let values = expected["values"].as_object().unwrap();
        let is_later_part = name.starts_with("split") && !name.contains("00001");
        for (key, value) in values.iter().filter(|(key, _)| !(is_later_part && key.starts_with("split."))) {
            assert_value(key, metadata(&checkpoint).get(key).unwrap(), value);
        }
    }
}

#[test]
fn every_format_and_number_of_dimensions_is_read_from_gguf() {
    let checkpoint = open("gguf/formats.gguf");
    let formats: std::collections::BTreeSet<Format> = checkpoint.tensors.values().map(|info| info.format).collect();
    assert_eq!(formats.len(), Format::ALL.len() - 1, "all but F8_E4M3, which GGUF does not have");
    assert_eq!(checkpoint.foreign.len(), 7);
    assert_eq!(checkpoint.tensor("dimensions.4").unwrap().shape, [5, 4, 3, 2]);
    assert_eq!(checkpoint.tensor("dimensions.1").unwrap().weights(), 5);
}

#[test]
fn odd_metadata_is_kept_without_loss() {
    let checkpoint = open("gguf/odd.gguf");
    let metadata = metadata(&checkpoint);
    assert_eq!(metadata.get("odd.bytes"), Some(&Value::Bytes(b"caf\xe9".to_vec())));
    let strings = [&b"good"[..], b"\xff\xfe", b"also good"].map(<[u8]>::to_vec);
    assert_eq!(metadata.get("odd.byte_strings"), Some(&Value::ByteStrings(strings.to_vec())));
    assert_eq!(metadata.get("odd.nested"), Some(&Value::Nested(3)));
    assert_eq!(metadata.uint("odd.last"), Some(7));
    let error = metadata.required_strings("odd.byte_strings").unwrap_err();
    assert_eq!(
        error.to_string(),
        "GGUF metadata odd.byte_strings: expected an array of UTF-8 strings, found an array of 3 strings, some of them not UTF-8"
    );
    assert_eq!(
        metadata.required_uint("odd.absent").unwrap_err().to_string(),
        "GGUF metadata odd.absent: expected a non-negative integer, found nothing"
    );
}

#[test]
fn long_arrays_cross_the_buffer() {
    let checkpoint = open("gguf/values.gguf");
    let long = metadata(&checkpoint).strings("array.long").unwrap();
    assert_eq!(long.len(), 2000);
    assert!(long.iter().enumerate().all(|(n, text)| *text == format!("token {n}")));
}

#[test]
fn any_part_of_a_split_model_opens_all_of_it() {
    let whole = open("gguf/split-00001-of-00003.gguf");
    assert_eq!((whole.tensors.len(), whole.files().count()), (5, 3));
    for part in 2..=3 {
        let other = open(format!("gguf/split-0000{part}-of-00003.gguf"));
        assert_eq!(other.tensors, whole.tensors);
        assert_eq!(metadata(&other), metadata(&whole));
        assert_eq!(metadata(&other).str("tokenizer.ggml.model"), Some("gpt2"));
    }
}

#[test]
fn a_tensor_is_read_in_pieces() {
    let checkpoint = open("tiny/llama");
    let (name, info) = checkpoint.tensors.iter().max_by_key(|(_, info)| info.bytes).unwrap();
    let whole = checkpoint.read_whole(info).unwrap();
    let (mut joined, mut start) = (Vec::new(), 0);
    while start < info.bytes {
        let end = info.bytes.min(start + 1000);
        let mut piece = vec![0; (end - start) as usize];
        checkpoint.read(info, start..end, &mut piece).unwrap();
        joined.extend(piece);
        start = end;
    }
    assert_eq!(joined, whole, "{name}");
    let total: u64 = checkpoint.tensors.values().map(|info| info.bytes).sum();
    assert_eq!(checkpoint.tensor_bytes_total(), total);
}

#[test]
fn a_range_outside_a_tensor_is_refused() {
    let checkpoint = open("tiny/llama");
    let info = checkpoint.tensors.values().next().unwrap();
    let mut out = [0; 8];
    let backwards = std::ops::Range { start: 9, end: 1 };
    for range in [0..7, info.bytes - 4..info.bytes + 4, backwards, u64::MAX - 8..u64::MAX] {
        assert!(matches!(checkpoint.read(info, range, &mut out), Err(Error::Internal { .. })));
    }
    let elsewhere = TensorInfo { file: 99, ..info.clone() };
    assert!(matches!(checkpoint.read(&elsewhere, 0..8, &mut out), Err(Error::Internal { .. })));
    let beyond = TensorInfo { offset: u64::MAX - 4, ..info.clone() };
    assert!(checkpoint.read(&beyond, 0..8, &mut out).is_err());
}
