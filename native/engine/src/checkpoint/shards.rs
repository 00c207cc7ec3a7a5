//! A checkpoint in several safetensors files, and the index (*.safetensors.index.json) that says which tensor lies in which.
//!
//! The index is read with a visitor that refuses repeated keys and file names that leave the folder; then each shard's
//! header is parsed and compared with it.
//!
//! The one surprise: the index decides. A tensor that a shard holds but the index does not place there is left out.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    fmt,
    path::Path,
};

use serde::{
    Deserialize, Deserializer,
    de::{Error as _, IgnoredAny, MapAccess, Visitor},
};

use super::{
    contents::Contents,
    json, safetensors,
    source::{self, Source, quote, show},
};
use crate::error::{Error, Result};

/// Each stays open while the model loads; the largest checkpoints of today have under 200.
const MAX_SHARDS: usize = 500;

/// Opens every shard of an index; the files are numbered in the order of their names.
pub fn open(index: Source) -> Result<(Vec<Source>, Contents)> {
    let path = index.path();
    let Index { weight_map } = json::parse(path, &source::read_whole(&index, json::MAX_BYTES)?)?;
    let folder = path.parent().unwrap_or(Path::new(""));
    let mut placed: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (tensor, shard) in &weight_map.0 {
        check_name(path, shard)?;
        placed.entry(shard).or_default().push(tensor);
        if placed.len() > MAX_SHARDS {
            return Err(Error::malformed(show(path), format!("at most {MAX_SHARDS} shards"), "more"));
        }
    }
    if placed.is_empty() {
        return Err(Error::malformed(show(path), "a weight_map that names tensors", "an empty one"));
    }
    let (mut sources, mut contents) = (Vec::with_capacity(placed.len()), Contents::default());
    for (shard, tensors) in placed {
        let expected = format!("a shard that {} names", show(path));
        let source = Source::open(&folder.join(shard), &expected)?;
        let held = safetensors::parse(&source, sources.len())?;
        take(path, shard, &tensors, held, &mut contents)?;
        sources.push(source);
    }
    Ok((sources, contents))
}

/// Moves what the index places in this shard.
fn take(index: &Path, shard: &str, tensors: &[&str], mut held: Contents, contents: &mut Contents) -> Result<()> {
    for &tensor in tensors {
        if let Some((name, info)) = held.tensors.remove_entry(tensor) {
            contents.tensors.insert(name, info);
        } else if let Some((name, foreign)) = held.foreign.remove_entry(tensor) {
            contents.foreign.insert(name, foreign);
        } else {
            let at = format!("{}: tensor {}", show(index), quote(tensor));
            return Err(Error::malformed(at, format!("this tensor in {shard}"), "a shard without it"));
        }
    }
    Ok(())
}

/// A shard is a plain file name: the folder's own files are all that an index may name.
fn check_name(index: &Path, shard: &str) -> Result<()> {
    let leaves = shard.contains(['/', '\\', '\0']) || matches!(shard, "" | "." | "..") || shard.len() > 255;
    match leaves {
        false => Ok(()),
        true => Err(Error::malformed(show(index), "shards named as files of the index's own folder", quote(shard))),
    }
}

#[derive(Deserialize)]
struct Index {
    weight_map: WeightMap,
}

/// Tensor name to file name.
struct WeightMap(BTreeMap<String, String>);

impl<'de> Deserialize<'de> for WeightMap {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Map;
        impl<'de> Visitor<'de> for Map {
            type Value = WeightMap;

            fn expecting(&self, out: &mut fmt::Formatter) -> fmt::Result {
                out.write_str("a map from tensor names to file names")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut pairs: A) -> std::result::Result<WeightMap, A::Error> {
                let mut shards = BTreeMap::new();
                while let Some(name) = pairs.next_key::<String>()? {
                    match shards.entry(name) {
                        Entry::Vacant(entry) => entry.insert(pairs.next_value()?),
                        Entry::Occupied(entry) => {
                            return Err(A::Error::custom(format!("tensor {} a second time", quote(entry.key()))));
                        }
                    };
                }
                Ok(WeightMap(shards))
            }
        }
        deserializer.deserialize_map(Map)
    }
}

/// Whether this text is an index rather than any other JSON; the answer for damaged JSON is no.
pub fn is_index(text: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Probe {
        #[serde(rename = "weight_map")]
        _weight_map: IgnoredAny,
    }
    serde_json::from_slice::<Probe>(text).is_ok()
}
