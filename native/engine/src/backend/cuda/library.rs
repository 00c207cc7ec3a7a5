//! Where NVIDIA's libraries are: on the system's paths, below CUDA_PATH and /usr/local/cuda, and in the PyPI packages of the
//! Pythons at hand.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
};

/// Where a library of one of these names may be, the likeliest first; `package` is its folder in the Python packages of CUDA 12.
pub(super) fn candidates(names: &[&str], package: &str) -> Vec<OsString> {
    let mut all: Vec<OsString> = names.iter().map(OsString::from).collect();
    let variables = ["CUDA_PATH", "CUDA_HOME"].iter().filter_map(std::env::var_os).map(PathBuf::from);
    let mut folders: Vec<PathBuf> = variables
        .chain([PathBuf::from("/usr/local/cuda")])
        .flat_map(|root| [root.join("lib64"), root.join("targets/x86_64-linux/lib"), root.join("lib")])
        .collect();
    // Pythons: the active environment's, the user's, and those that PATH leads to.
    let mut prefixes: Vec<PathBuf> = vec![];
    prefixes.extend(std::env::var_os("VIRTUAL_ENV").map(PathBuf::from));
    prefixes.extend(std::env::var_os("HOME").map(|home| Path::new(&home).join(".local")));
    let path = std::env::var_os("PATH").unwrap_or_default();
    prefixes.extend(std::env::split_paths(&path).filter(|bin| bin.join("python3").exists()).filter_map(|bin| {
        let real = std::fs::canonicalize(&bin).unwrap_or(bin);
        real.parent().map(Path::to_path_buf)
    }));
    for prefix in prefixes {
        for library in [prefix.join("lib"), prefix.join("local/lib")] {
            let Ok(entries) = std::fs::read_dir(&library) else { continue };
            for entry in entries.flatten().filter(|entry| entry.file_name().to_string_lossy().starts_with("python3")) {
                for packages in ["site-packages", "dist-packages"] {
                    let nvidia = entry.path().join(packages).join("nvidia");
                    folders.extend([nvidia.join("cu13/lib"), nvidia.join(package).join("lib")]);
                }
            }
        }
    }
    for entry in std::env::var_os("PYTHONPATH").iter().flat_map(std::env::split_paths) {
        let nvidia = entry.join("nvidia");
        folders.extend([nvidia.join("cu13/lib"), nvidia.join(package).join("lib")]);
    }
    for folder in folders {
        all.extend(
            names.iter().map(|name| folder.join(name)).filter(|path| path.exists()).map(PathBuf::into_os_string),
        );
    }
    all
}
