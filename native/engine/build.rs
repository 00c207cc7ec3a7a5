//! Embeds kernels/generic.ptxs, which `make kernels` writes, where it is there; see src/backend/cuda/generic.rs.

use std::{env, error::Error, fs, path::Path};

fn main() -> Result<(), Box<dyn Error>> {
    let from = Path::new("../../kernels/generic.ptxs");
    println!("cargo:rerun-if-changed={}", from.display());
    let to = Path::new(&env::var("OUT_DIR")?).join("generic.ptxs");
    // Nothing in it says that there is none.
    let content = if from.exists() { fs::read(from)? } else { vec![] };
    fs::write(to, content)?;
    Ok(())
}
