//! Folders and files made for a test, and gone with it.

#![allow(dead_code, reason = "each test binary uses its own part")]

use std::{
    path::{Path, PathBuf},
    sync::atomic::{AtomicUsize, Ordering},
};

static NEXT: AtomicUsize = AtomicUsize::new(0);

/// A new, empty folder; in memory where the system has a place for that.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new() -> Folder {
        let memory = Path::new("/dev/shm");
        let base = if memory.is_dir() { memory.to_path_buf() } else { std::env::temp_dir() };
        let name = format!("viva_tensor_{}_{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = base.join(name);
        std::fs::create_dir(&path).unwrap();
        Folder(path)
    }

    /// A copy of a folder under test/fixtures.
    pub fn copy_of(fixture: &str) -> Folder {
        let folder = Folder::new();
        for entry in std::fs::read_dir(fixtures().join(fixture)).unwrap() {
            let entry = entry.unwrap();
            if entry.path().is_file() {
                std::fs::copy(entry.path(), folder.path().join(entry.file_name())).unwrap();
            }
        }
        folder
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Writes a file and returns its path.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, content).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

pub fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../test/fixtures")
}

/// A safetensors file of this header and that many bytes of data.
pub fn safetensors(header: &str, data_bytes: usize) -> Vec<u8> {
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend_from_slice(header.as_bytes());
    file.resize(file.len() + data_bytes, 0);
    file
}

/// A GGUF file under construction: its counts follow what is added, unless they are made to lie.
#[derive(Clone)]
pub struct Gguf {
    pub version: u32,
    pub tensor_count: Option<u64>,
    pub value_count: Option<u64>,
    pub values: Vec<Vec<u8>>,
    pub infos: Vec<Vec<u8>>,
    pub data_bytes: usize,
}

impl Gguf {
    pub fn new() -> Gguf {
        Gguf { version: 3, tensor_count: None, value_count: None, values: vec![], infos: vec![], data_bytes: 0 }
    }

    /// A value whose bytes are given.
    pub fn value(mut self, key: &str, value_type: u32, value: &[u8]) -> Gguf {
        self.values.push([&text(key.as_bytes()), &value_type.to_le_bytes()[..], value].concat());
        self
    }

    pub fn uint16(self, key: &str, number: u16) -> Gguf {
        self.value(key, 2, &number.to_le_bytes())
    }

    /// A tensor; the shape is ggml's, innermost first.
    pub fn tensor(mut self, name: &str, shape: &[u64], ggml_type: u32, offset: u64) -> Gguf {
        let mut info = text(name.as_bytes());
        info.extend((shape.len() as u32).to_le_bytes());
        info.extend(shape.iter().flat_map(|length| length.to_le_bytes()));
        info.extend(ggml_type.to_le_bytes());
        info.extend(offset.to_le_bytes());
        self.infos.push(info);
        self
    }

    pub fn data(mut self, bytes: usize) -> Gguf {
        self.data_bytes = bytes;
        self
    }

    pub fn bytes(&self) -> Vec<u8> {
        let mut file = b"GGUF".to_vec();
        file.extend(self.version.to_le_bytes());
        file.extend(self.tensor_count.unwrap_or(self.infos.len() as u64).to_le_bytes());
        file.extend(self.value_count.unwrap_or(self.values.len() as u64).to_le_bytes());
        file.extend(self.values.concat());
        file.extend(self.infos.concat());
        if self.data_bytes > 0 {
            file.resize(file.len().next_multiple_of(32) + self.data_bytes, 0);
        }
        file
    }
}

/// A GGUF string: its length, then its bytes.
pub fn text(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u64).to_le_bytes()[..], bytes].concat()
}

/// The bytes of a GGUF array of `count` elements, of which `elements` are there.
pub fn array(element_type: u32, count: u64, elements: &[u8]) -> Vec<u8> {
    [&element_type.to_le_bytes()[..], &count.to_le_bytes(), elements].concat()
}
