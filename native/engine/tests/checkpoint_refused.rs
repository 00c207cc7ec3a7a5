//! What is not a model, or a damaged one: each gets an error of the right kind that says what was found.

mod checkpoint_folder;

use std::{
    fs::OpenOptions,
    os::unix::fs::symlink,
    path::Path,
    time::{Duration, Instant},
};

use checkpoint_folder::{Folder, Gguf, array, fixtures, safetensors, text};
use viva_tensor_engine::{checkpoint::Checkpoint, error::Error};

/// The error of opening, which must come soon and name the path or something beneath it.
fn refused(path: &Path) -> Error {
    let start = Instant::now();
    let error = Checkpoint::open(path).expect_err("this must not open");
    assert!(start.elapsed() < Duration::from_secs(1), "slow: {error}");
    error
}

/// Opening fails with a variant of this name and a message that has these words.
#[track_caller]
fn assert_refused(path: &Path, variant: &str, words: &[&str]) {
    let error = refused(path);
    let (debug, message) = (format!("{error:?}"), error.to_string());
    assert!(debug.starts_with(variant), "expected {variant}: {debug}");
    for word in words {
        assert!(message.contains(word), "no {word:?} in: {message}");
    }
    assert!(message.len() < 2000, "a message of {} bytes", message.len());
}

#[track_caller]
fn assert_header_refused(header: &str, data_bytes: usize, words: &[&str]) {
    let folder = Folder::new();
    let path = folder.write("model.safetensors", safetensors(header, data_bytes));
    assert_refused(&path, "Malformed", &[&["model.safetensors"], words].concat());
}

#[track_caller]
fn assert_gguf_refused(file: &Gguf, words: &[&str]) {
    let folder = Folder::new();
    assert_refused(&folder.write("model.gguf", file.bytes()), "Malformed", &[&["model.gguf"], words].concat());
}

#[test]
fn what_is_no_model_is_named() {
    let folder = Folder::new();
    assert_refused(&folder.path().join("absent.gguf"), "NotFound", &["absent.gguf", "a safetensors or GGUF file"]);
    assert_refused(folder.path(), "Malformed", &["found an empty folder"]);
    assert_refused(&folder.write("empty", ""), "Unsupported", &["an empty file"]);
    assert_refused(&folder.write("notes.txt", "Dear diary"), "Unsupported", &["a text file"]);
    assert_refused(&folder.write("page.gguf", "<!DOCTYPE html><title>404"), "Unsupported", &["a web page"]);
    assert_refused(&folder.write("noise", [200, 1, 2, 3]), "Unsupported", &["begins with the bytes [c8, 01, 02, 03]"]);
    std::fs::remove_file(folder.path().join("page.gguf")).unwrap();
    assert_refused(folder.path(), "Malformed", &["a folder with empty, noise, notes.txt"]);
    assert_refused(&folder.write("config.json", "{}"), "Unsupported", &["no index of shards", "name the folder"]);
    let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n";
    assert_refused(&folder.write("model.safetensors", pointer), "Unsupported", &["Git LFS pointer", "git lfs pull"]);
    assert_refused(&folder.write("old.bin", "tjgg\u{1}\0\0\0"), "Unsupported", &["GGML file from before GGUF"]);
    assert_refused(&folder.write("notes.txt", "x").join("below"), "NotFound", &["notes.txt/below"]);
    assert_refused(Path::new("/dev/zero"), "Malformed", &["a regular file", "a device"]);
}

#[test]
fn a_pickle_is_named_with_the_way_out() {
    let folder = Folder::new();
    let pickle = folder.write("pytorch_model.bin", b"PK\x03\x04\0\0\0\0");
    folder.write("config.json", "{}");
    for path in [&pickle, folder.path()] {
        assert_refused(path, "Unsupported", &["PyTorch's pickle", "save_pretrained"]);
    }
    assert_refused(&folder.write("old.pt", b"\x80\x02\x8a\x0al\xfc"), "Unsupported", &["PyTorch's pickle"]);
}

#[test]
fn a_pipe_is_refused_without_waiting_for_a_writer() {
    let folder = Folder::new();
    let pipe = folder.path().join("model.gguf");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    assert_refused(&pipe, "Malformed", &["a device, pipe or socket"]);
    assert_refused(folder.path(), "Malformed", &["a device, pipe or socket"]);
}

#[test]
fn a_folder_with_several_models_asks_for_one() {
    let folder = Folder::new();
    for name in ["a.gguf", "b.gguf"] {
        folder.write(name, Gguf::new().bytes());
    }
    assert_refused(folder.path(), "Malformed", &["one *.gguf file", "2: a.gguf, b.gguf"]);
}

#[test]
fn the_config_must_be_there_and_be_json() {
    let folder = Folder::copy_of("tiny/llama");
    for (name, content, words) in [
        ("config.json", "{\"a\": 1,\n \"b\": x}", ["config.json, line 2, column 7", "valid JSON"]),
        ("config.json", "[1]", ["a JSON object", "an array"]),
        ("config.json", &"[".repeat(1000), ["config.json, line 1", "recursion limit"]),
        ("config.json", &format!("[{}1]", "1,".repeat(2_000_000)), ["at most 1000000 values", "commas"]),
        ("generation_config.json", "{\"eos", ["generation_config.json, line 1", "EOF"]),
        ("tokenizer_config.json", "", ["tokenizer_config.json, line 1", "EOF"]),
    ] {
        let path = folder.path().join(name);
        let before = std::fs::read(&path).unwrap();
        folder.write(name, content);
        assert_refused(folder.path(), "Malformed", &words);
        folder.write(name, before);
    }
    folder.write("chat_template.jinja", b"{{ caf\xe9 }}");
    assert_refused(folder.path(), "Malformed", &["chat_template.jinja", "UTF-8 text", "an invalid byte at 6"]);
    std::fs::remove_file(folder.path().join("config.json")).unwrap();
    assert_refused(folder.path(), "NotFound", &["config.json", "the model's description beside its weights"]);
}

#[test]
fn a_huge_json_file_is_not_read() {
    let folder = Folder::copy_of("tiny/llama");
    for name in ["config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja"] {
        let path = folder.path().join(name);
        let before = std::fs::read(&path).unwrap();
        OpenOptions::new().write(true).open(&path).unwrap().set_len(1 << 40).unwrap();
        assert_refused(folder.path(), "Malformed", &[name, "1099511627776 bytes", "at most"]);
        folder.write(name, before);
    }
}

#[test]
fn a_lying_header_length_is_refused() {
    let folder = Folder::copy_of("tiny/llama");
    let path = folder.path().join("model.safetensors");
    let good = std::fs::read(&path).unwrap();
    for (length, words) in [
        (10_000_000_000, ["a length of 10000000000 bytes", "header"]),
        (u64::MAX, ["a length of 18446744073709551615 bytes", "header"]),
        (good.len() as u64 - 7, ["at most 513656 bytes", "a length of 513657 bytes"]),
        (0, ["line 1", "EOF"]),
        (100, ["line 1", "EOF"]),
    ] {
        folder.write("model.safetensors", [&length.to_le_bytes()[..], &good[8..]].concat());
        assert_refused(&path, "Malformed", &words);
    }
    // A sparse file has room for any header.
    OpenOptions::new().write(true).open(&path).unwrap().set_len(1 << 40).unwrap();
    std::os::unix::fs::FileExt::write_all_at(
        &OpenOptions::new().write(true).open(&path).unwrap(),
        &10_000_000_000u64.to_le_bytes(),
        0,
    )
    .unwrap();
    assert_refused(&path, "Malformed", &["at most 100000000 bytes", "a length of 10000000000 bytes"]);
}

#[test]
fn every_truncation_of_a_safetensors_file_is_refused() {
    let folder = Folder::copy_of("tiny/llama3");
    let path = folder.path().join("model.safetensors");
    let good = std::fs::read(&path).unwrap();
    for length in (0..64).chain((64..good.len()).step_by(4801)).chain([good.len() - 1]) {
        folder.write("model.safetensors", &good[..length]);
        let error = refused(&path);
        assert!(matches!(error, Error::Malformed { .. } | Error::Unsupported { .. }), "{length}: {error:?}");
    }
    folder.write("model.safetensors", [&good[..], b"more"].concat());
    assert_refused(&path, "Malformed", &["tensors that cover all", "a gap"]);
}

#[test]
fn lying_safetensors_headers_are_refused() {
    let tensor = |name: &str, dtype: &str, shape: &str, range: &str| {
        format!(r#""{name}":{{"dtype":"{dtype}","shape":{shape},"data_offsets":{range}}}"#)
    };
    let one = |dtype, shape, range| format!("{{{}}}", tensor("a", dtype, shape, range));
    let two =
        |range_a, range_b| format!("{{{},{}}}", tensor("a", "F32", "[2]", range_a), tensor("b", "F32", "[2]", range_b));
    let twice = format!("{{{0},{0}}}", tensor("a", "F32", "[2]", "[0,8]"));
    for (header, data_bytes, words) in [
        (one("F32", "[2]", "[0,12]"), 12, ["tensor \"a\"", "[2] of F32 with 12 bytes"]),
        (one("F32", "[2]", "[0,8]"), 7, ["a range of the 7 bytes", "bytes 0 to 8"]),
        (one("F32", "[2]", "[8,0]"), 8, ["a range of the 8 bytes", "bytes 8 to 0"]),
        (one("F32", "[2]", "[18446744073709551615,8]"), 8, ["a range of", "bytes 18446744073709551615 to 8"]),
        (one("F32", "[2]", "[0,8]"), 9, ["cover all 9 bytes", "a gap from byte 8 to 9"]),
        (two("[0,8]", "[4,12]"), 12, ["\"b\"", "an overlap from byte 4 on"]),
        (two("[0,8]", "[0,8]"), 8, ["\"b\"", "an overlap from byte 0 on"]),
        (two("[0,8]", "[12,20]"), 20, ["cover all", "a gap from byte 8 to 12"]),
        (one("F32", "[4294967296,4294967296,4]", "[0,0]"), 0, ["product fits into 64 bits", "4294967296"]),
        (one("F32", "[4611686018427387904,4]", "[0,0]"), 0, ["fits into 64 bits", "4611686018427387904"]),
        (one("F4", "[3]", "[0,2]"), 2, ["[3] of F4", "2 bytes"]),
        (one("F32", "[1.5]", "[0,8]"), 8, ["line 1", "invalid type: floating point"]),
        (one("F32", "[-2]", "[0,8]"), 8, ["line 1", "invalid value: integer `-2`"]),
        (one("F32", "[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1]", "[0,4]"), 4, ["at most 16 lengths", "17"]),
        (one("F32", "[2]", "[0,8,8]"), 8, ["line 1", "column"]),
        (one("F32", "[2]", "[0]"), 8, ["line 1", "column"]),
        (twice, 8, ["tensor \"a\" a second time", "line 1"]),
        (
            r#"{"a":{"dtype":"F32","dtype":"F32","shape":[],"data_offsets":[0,4]}}"#.into(),
            4,
            ["duplicate field", "dtype"],
        ),
        (r#"{"a":{"dtype":"F32","shape":[]}}"#.into(), 0, ["missing field", "data_offsets"]),
        (r#"{"__metadata__":{},"__metadata__":{}}"#.into(), 0, ["second __metadata__", "line 1"]),
        (r#"{"a":7}"#.into(), 0, ["line 1", "invalid type"]),
        (r#"{} {}"#.into(), 0, ["line 1", "trailing characters"]),
        (format!(r#"{{"a":{}"#, "[".repeat(100_000)), 0, ["line 1", "JSON"]),
        (format!(r#"{{"{}":7}}"#, "long".repeat(100_000)), 0, ["line 1", "invalid type"]),
    ] {
        assert_header_refused(&header, data_bytes, &words);
    }
}

#[test]
fn an_unknown_dtype_is_named_when_its_tensor_is_asked_for() {
    let folder = Folder::new();
    folder.write("config.json", "{}");
    let header = r#"{"a":{"dtype":"F7","shape":[3],"data_offsets":[0,3]}}"#;
    folder.write("odd.safetensors", safetensors(header, 3));
    let error = Checkpoint::open(folder.path()).unwrap().tensor("a").unwrap_err();
    assert!(error.to_string().contains("a tensor stored as F7 is not supported; expected F32, F16, BF16"), "{error}");
}

/// A folder with an index of this text beside the shards of tiny/phi2.
fn indexed(text: &str) -> Folder {
    let folder = Folder::copy_of("tiny/phi2");
    folder.write("model.safetensors.index.json", text);
    folder
}

#[test]
fn lying_indexes_are_refused() {
    let map = |pairs: &str| format!(r#"{{"metadata":{{}},"weight_map":{{{pairs}}}}}"#);
    let to = |shard: &str| map(&format!(r#""lm_head.bias":"{shard}""#));
    for shard in ["../model.safetensors", "/etc/passwd", "a/b.safetensors", "a\\\\b", "..", ".", "", "a\\u0000b"] {
        assert_refused(indexed(&to(shard)).path(), "Malformed", &["files of the index's own folder"]);
    }
    assert_refused(indexed(&to(&"x".repeat(300))).path(), "Malformed", &["own folder", "(300 bytes)"]);
    assert_refused(indexed(&to("model-00009-of-00003.safetensors")).path(), "NotFound", &["model-00009-of-00003"]);
    assert_refused(
        indexed(&to("model-00001-of-00003.safetensors")).path(),
        "Malformed",
        &["\"lm_head.bias\"", "a shard without it"],
    );
    // An index among its own shards, and JSON where a shard should be.
    assert_refused(indexed(&to("model.safetensors.index.json")).path(), "Malformed", &["header", "a length of"]);
    assert_refused(indexed(&map("")).path(), "Malformed", &["a weight_map that names tensors"]);
    assert_refused(indexed(&map(r#""a":"s","a":"s""#)).path(), "Malformed", &["\"a\" a second time", "line 1"]);
    assert_refused(indexed(r#"{"weight_map":{},"weight_map":{}}"#).path(), "Malformed", &["duplicate field"]);
    assert_refused(indexed(r#"{"weight_map":[]}"#).path(), "Malformed", &["a map from tensor names"]);
    assert_refused(indexed(r#"{"weight_map":{"a":7}}"#).path(), "Malformed", &["invalid type: integer"]);
    assert_refused(indexed("{}").path(), "Malformed", &["missing field `weight_map`"]);
    assert_refused(indexed(r#"{"weight_map""#).path(), "Malformed", &["index.json, line 1", "EOF"]);
    let many: Vec<String> = (0..600).map(|n| format!(r#""t{n}":"s{n}""#)).collect();
    assert_refused(indexed(&map(&many.join(","))).path(), "Malformed", &["at most 500 shards"]);
}

#[test]
fn absent_and_cyclic_shards_are_refused() {
    let folder = Folder::copy_of("tiny/phi2");
    let shard = folder.path().join("model-00002-of-00003.safetensors");
    std::fs::remove_file(&shard).unwrap();
    assert_refused(folder.path(), "NotFound", &["model-00002-of-00003.safetensors", "index.json names"]);
    symlink(&shard, &shard).unwrap();
    assert_refused(folder.path(), "Unreadable", &["model-00002-of-00003.safetensors"]);
    std::fs::remove_file(&shard).unwrap();
    symlink(folder.path(), &shard).unwrap();
    assert_refused(folder.path(), "Malformed", &["model-00002-of-00003.safetensors", "a folder"]);
    // A link to the shard itself is how download caches keep their files.
    std::fs::remove_file(&shard).unwrap();
    symlink(fixtures().join("tiny/phi2/model-00002-of-00003.safetensors").canonicalize().unwrap(), &shard).unwrap();
    assert_eq!(Checkpoint::open(folder.path()).unwrap().tensors.len(), 47);
    std::fs::remove_file(folder.path().join("model.safetensors.index.json")).unwrap();
    assert_refused(folder.path(), "NotFound", &["model.safetensors.index.json", "the index that names all shards"]);
}

#[test]
fn foreign_versions_of_gguf_are_refused_by_name() {
    let gguf = |name: &str| fixtures().join("gguf").join(name);
    assert_refused(&gguf("version_1.gguf"), "Unsupported", &["GGUF version 1 is not", "version 2 or 3"]);
    assert_refused(&gguf("big_endian.gguf"), "Unsupported", &["a big-endian GGUF file", "little-endian"]);
    let folder = Folder::new();
    let mut next = Gguf::new();
    next.version = 4;
    assert_refused(&folder.write("model.gguf", next.bytes()), "Unsupported", &["GGUF version 4"]);
    assert_refused(&folder.write("cut.gguf", "GG"), "Unsupported", &["a text file"]);
    assert_refused(&folder.write("cut.gguf", "GGUF"), "Malformed", &["version", "4 bytes", "0 left"]);
    assert_refused(&folder.write("noise.gguf", [0; 100]), "Malformed", &["the magic GGUF"]);
}

#[test]
fn every_truncation_of_a_gguf_file_is_refused() {
    let folder = Folder::new();
    for name in ["version_3.gguf", "formats.gguf", "aligned_256.gguf", "odd.gguf"] {
        let good = std::fs::read(fixtures().join("gguf").join(name)).unwrap();
        for length in (1..good.len().min(400)).chain((400..good.len()).step_by(97)) {
            let path = folder.write("cut.gguf", &good[..length]);
            let Err(error) = Checkpoint::open(&path) else {
                // gguf pads the last tensor; a file without that padding is whole.
                assert!(good.len() - length < 256 && name != "odd.gguf", "{name} opens with {length} bytes");
                continue;
            };
            assert!(matches!(error, Error::Malformed { .. } | Error::Unsupported { .. }), "{length}: {error:?}");
        }
    }
}

#[test]
fn lying_gguf_counts_are_refused() {
    for count in [2, 1 << 20, 1 << 40, u64::MAX] {
        let mut file = Gguf::new().tensor("a", &[8], 0, 0).data(32);
        file.tensor_count = Some(count);
        assert_gguf_refused(&file, &["found"]);
        let mut file = Gguf::new().uint16("a", 1);
        file.value_count = Some(count);
        assert_gguf_refused(&file, &["found"]);
    }
    for count in [100, 1 << 40, u64::MAX, u64::MAX / 8 + 1] {
        for element_type in [0, 3, 6, 7, 8, 9, 12] {
            assert_gguf_refused(&Gguf::new().value("list", 9, &array(element_type, count, &[0; 40])), &["list"]);
        }
        let string = [&count.to_le_bytes()[..], b"short"].concat();
        assert_gguf_refused(&Gguf::new().value("word", 8, &string), &["word", "5 left"]);
        let mut file = Gguf::new();
        file.values = vec![count.to_le_bytes().to_vec()];
        assert_gguf_refused(&file, &["metadata"]);
    }
}

#[test]
fn a_sparse_file_of_a_terabyte_does_not_take_memory() {
    let folder = Folder::new();
    let long = 1u64 << 39;
    for (file, words) in [
        (Gguf::new().value("word", 8, &long.to_le_bytes()), ["word", "limit on metadata"]),
        (Gguf::new().value("list", 9, &array(0, long, &[])), ["list", "limit on metadata"]),
        (Gguf::new().value("list", 9, &array(0, 1 << 27, &[])), ["list", "at most 4194304 elements"]),
        (Gguf::new().value("list", 9, &array(9, 1 << 24, &[])), ["list", "at most 4194304 elements"]),
        (Gguf { tensor_count: Some(1 << 23), ..Gguf::new() }, ["tensor count", "at most 1000000"]),
        (Gguf { value_count: Some(1 << 23), ..Gguf::new() }, ["metadata count", "at most 65536"]),
        (Gguf { value_count: Some(60_000), ..Gguf::new() }, ["each metadata key once", "a second time"]),
    ] {
        let path = folder.write("sparse.gguf", file.bytes());
        OpenOptions::new().write(true).open(&path).unwrap().set_len(1 << 40).unwrap();
        assert_refused(&path, "Malformed", &words);
    }
}

#[test]
fn lying_gguf_values_are_refused() {
    let pair = |kind: u32, value: &[u8]| Gguf::new().value("key", kind, value);
    assert_gguf_refused(&pair(13, &[0; 16]), &["\"key\"", "a value type from 0 to 12", "13"]);
    assert_gguf_refused(&pair(9, &array(13, 1, &[0; 16])), &["\"key\"", "a value type from 0 to 12", "13"]);
    assert_gguf_refused(&pair(7, &[2]), &["\"key\"", "0 or 1", "found 2"]);
    assert_gguf_refused(&pair(9, &array(7, 2, &[1, 9])), &["\"key\"", "0 or 1", "found 9"]);
    assert_gguf_refused(&pair(9, &array(10, 1, &[255; 8])), &["\"key\"", "integers under 2^63"]);
    assert_gguf_refused(&Gguf::new().uint16("key", 1).uint16("key", 2), &["\"key\"", "once", "a second time"]);
    assert_gguf_refused(
        &Gguf { values: vec![[text(b"caf\xe9"), vec![0; 8]].concat()], ..Gguf::new() },
        &["UTF-8 text"],
    );
    for alignment in [0u32, 3, 48, 1 << 31] {
        let file = Gguf::new().value("general.alignment", 4, &alignment.to_le_bytes());
        assert_gguf_refused(&file, &["general.alignment", "a power of two", &alignment.to_string()]);
    }
    assert_gguf_refused(&Gguf::new().value("general.alignment", 8, &text(b"32")), &["a power of two", "the string"]);
}

#[test]
fn arrays_within_arrays_are_passed_over_to_a_depth() {
    let folder = Folder::new();
    let nested = |depth: usize| (0..depth).fold(array(0, 1, &[7]), |inner, _| array(9, 1, &inner));
    for (depth, opens) in [(1, true), (8, true), (9, true), (10, false), (1000, false)] {
        let path = folder.write("nested.gguf", Gguf::new().value("deep", 9, &nested(depth)).bytes());
        match opens {
            true => drop(Checkpoint::open(&path).unwrap()),
            false => assert_refused(&path, "Unsupported", &["\"deep\"", "arrays at most 8 deep"]),
        }
    }
}

#[test]
fn lying_gguf_tensors_are_refused() {
    const F32: u32 = 0;
    const Q8_0: u32 = 8;
    let one = |shape: &[u64], ggml_type, offset| Gguf::new().tensor("a", shape, ggml_type, offset).data(64);
    for (file, words) in [
        (one(&[8, 1, 1, 1, 1], F32, 0), ["at most 4 dimensions", "5"]),
        (one(&[17], F32, 0), ["offset 0", "64 of data"]),
        (one(&[8], F32, 64), ["offset 64", "64 of data"]),
        (one(&[8], F32, 7), ["a multiple of 32", "offset 7"]),
        (one(&[8], F32, u64::MAX - 31), ["offset 18446744073709551584", "64 of data"]),
        (one(&[1 << 62, 4], F32, 0), ["64 bits", "F32"]),
        (one(&[1 << 32, 1 << 31], F32, 0), ["a size that fits", "4294967296"]),
        (one(&[16, 2], Q8_0, 0), ["rows of whole blocks of 32", "[2, 16] of Q8_0"]),
        (one(&[], Q8_0, 0), ["rows of whole blocks of 32", "[] of Q8_0"]),
        (one(&[8], F32, 0).tensor("a", &[8], F32, 32), ["tensor \"a\"", "each tensor once"]),
        (one(&[8], F32, 0).tensor("a", &[4], 27, 32), ["tensor \"a\"", "each tensor once"]),
        (one(&[4], 27, 0).tensor("a", &[8], F32, 32), ["tensor \"a\"", "each tensor once"]),
        (one(&[16], F32, 0).tensor("b", &[8], F32, 32), ["tensor \"b\"", "an overlap from byte 32 on"]),
        (one(&[8], F32, 32).tensor("b", &[16], F32, 0), ["tensor \"a\"", "an overlap from byte 32 on"]),
        (one(&[8], 27, 0).tensor("b", &[8], F32, 32), ["tensor \"b\"", "an overlap from byte 32 on"]),
        (one(&[8], 99, 96), ["offset 96", "64 of data"]),
    ] {
        assert_gguf_refused(&file, &words);
    }
}

#[test]
fn unknown_ggml_types_are_named_when_asked_for() {
    let folder = Folder::new();
    let file = Gguf::new().tensor("new", &[8], 99, 0).tensor("old", &[8], 31, 32).data(64);
    let checkpoint = Checkpoint::open(&folder.write("model.gguf", file.bytes())).unwrap();
    for (name, found) in [("new", "a tensor stored as ggml type 99"), ("old", "a tensor stored as Q4_0_4_4 (retired)")]
    {
        let error = checkpoint.tensor(name).unwrap_err();
        assert!(error.to_string().contains(found), "{error}");
    }
}

/// A part of a split model with one tensor.
fn part(number: u16, count: u16, tensors: i32, name: &str) -> Vec<u8> {
    let file = Gguf::new().uint16("split.no", number).uint16("split.count", count);
    file.value("split.tensors.count", 5, &tensors.to_le_bytes()).tensor(name, &[8], 0, 0).data(32).bytes()
}

#[test]
fn inconsistent_split_models_are_refused() {
    let folder = Folder::new();
    let (first, second) = ("m-00001-of-00002.gguf", "m-00002-of-00002.gguf");
    let path = folder.write(first, part(0, 2, 2, "a"));
    assert_refused(&path, "NotFound", &[second, "part 2 of 2"]);
    for (content, variant, words) in [
        (part(1, 3, 2, "b"), "Malformed", ["split.count", "expected 2, found 3"]),
        (part(0, 2, 2, "b"), "Malformed", ["split.no", "expected 1, found 0"]),
        (Gguf::new().bytes(), "Malformed", ["split.count", "found none"]),
        (part(1, 2, 2, "a"), "Malformed", ["tensor \"a\"", "another file holds too"]),
        (b"GGUF".to_vec(), "Malformed", [second, "version"]),
    ] {
        folder.write(second, content);
        assert_refused(&path, variant, &words);
    }
    folder.write(second, part(1, 2, 2, "b"));
    assert_eq!(Checkpoint::open(folder.path()).unwrap().tensors.len(), 2);
    folder.write(first, part(0, 2, 9, "a"));
    assert_refused(&path, "Malformed", &["split.tensors.count", "9 tensors", "2 in all parts"]);
    let renamed = folder.write("renamed.gguf", part(1, 2, 2, "b"));
    assert_refused(&renamed, "Malformed", &["ends in -00002-of-00002.gguf", "another name"]);
    let many = folder.write("m-00001-of-60000.gguf", part(0, 60_000, 2, "a"));
    assert_refused(&many, "Malformed", &["split.count", "at most 500 parts", "60000"]);
}

/// Something that happens to a file between opening and reading.
type Change = fn(&Path);

#[test]
fn a_file_that_is_cut_or_changed_while_it_loads_is_an_error() {
    let changes: [(Change, &str); 3] = [
        (|path| OpenOptions::new().write(true).open(path).unwrap().set_len(1000).unwrap(), "found 1000 bytes now"),
        (
            |path| OpenOptions::new().write(true).open(path).unwrap().set_len(1 << 20).unwrap(),
            "found 1048576 bytes now",
        ),
        (
            |path| {
                // Clocks of file systems tick every few milliseconds.
                std::thread::sleep(Duration::from_millis(20));
                std::fs::write(path, std::fs::read(path).unwrap()).unwrap();
            },
            "the same size, but written to since",
        ),
    ];
    for (change, words) in changes {
        let folder = Folder::copy_of("tiny/llama");
        let checkpoint = Checkpoint::open(folder.path()).unwrap();
        change(&folder.path().join("model.safetensors"));
        for info in checkpoint.tensors.values() {
            let error = checkpoint.read_whole(info).unwrap_err();
            let Error::Malformed { expected, found, .. } = &error else { panic!("{error:?}") };
            assert!(expected.contains("513664 bytes"), "{expected}");
            assert!(error.to_string().contains(words) && !found.is_empty(), "{error}");
        }
    }
}

#[test]
fn a_file_that_is_replaced_is_read_as_it_was() {
    let folder = Folder::copy_of("tiny/llama");
    let checkpoint = Checkpoint::open(folder.path()).unwrap();
    let info = checkpoint.tensors.values().next().unwrap();
    let before = checkpoint.read_whole(info).unwrap();
    let path = folder.path().join("model.safetensors");
    std::fs::remove_file(&path).unwrap();
    folder.write("model.safetensors", "another file");
    assert_eq!(checkpoint.read_whole(info).unwrap(), before);
}
