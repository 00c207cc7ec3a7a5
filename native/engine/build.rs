//! Embeds kernels/generic.ptxs, which `make kernels` writes, where it is there; see src/backend/cuda/generic.rs.

use std::{env, error::Error, fs, path::Path};

fn main() -> Result<(), Box<dyn Error>> {
    let kernels = Path::new("../../kernels");
    // The folder, for cargo would take a file that is not there for one that changes all the time.
    println!("cargo:rerun-if-changed={}", kernels.display());
    let from = kernels.join("generic.ptxs");
    let to = Path::new(&env::var("OUT_DIR")?).join("generic.ptxs");
    // Nothing in it says that there is none.
    let content = if from.exists() { fs::read(from)? } else { vec![] };
    fs::write(to, content)?;
    Ok(())
}
