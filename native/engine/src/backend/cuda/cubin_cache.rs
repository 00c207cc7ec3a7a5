//! Compiled kernels on disk: $XDG_CACHE_HOME/viva_tensor/<hash of everything that went in>.cubin.
//!
//! A file is a magic word, the hash of the rest, and the cubin. One that does not fit is ignored and written anew; it is
//! written beside and renamed, so nobody reads a half. A cache that cannot be written costs time, nothing else.

use std::{fs, path::PathBuf};

const MAGIC: &[u8; 8] = b"vivacub1";

/// FNV-1a over 128 bits.
pub fn hash(parts: &[&[u8]]) -> u128 {
    let mut hash = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d_u128;
    for part in parts {
        // The length, so that parts cannot flow into each other.
        for byte in part.len().to_le_bytes().iter().chain(*part) {
            hash = (hash ^ u128::from(*byte)).wrapping_mul(0x0000_0000_0100_0000_0000_0000_0000_013b);
        }
    }
    hash
}

/// Where a key's cubin is kept; `None` where the user has no home.
pub fn path(key: u128) -> Option<PathBuf> {
    let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let root = absolute("XDG_CACHE_HOME").or_else(|| Some(absolute("HOME")?.join(".cache")))?;
    Some(root.join("viva_tensor").join(format!("{key:032x}.cubin")))
}

pub fn read(key: u128) -> Option<Vec<u8>> {
    let content = fs::read(path(key)?).ok()?;
    let (magic, rest) = content.split_first_chunk::<8>()?;
    let (check, image) = rest.split_first_chunk::<16>()?;
    (magic == MAGIC && *check == hash(&[image]).to_le_bytes() && !image.is_empty()).then(|| image.to_vec())
}

pub fn write(key: u128, image: &[u8]) {
    let Some(path) = path(key) else { return };
    let Some(folder) = path.parent() else { return };
    let beside = folder.join(format!("{key:032x}.{}.new", std::process::id()));
    let content = [MAGIC.as_slice(), &hash(&[image]).to_le_bytes(), image].concat();
    let written = fs::create_dir_all(folder).and_then(|()| fs::write(&beside, content));
    if written.and_then(|()| fs::rename(&beside, &path)).is_err() {
        let _ = fs::remove_file(&beside);
    }
}
