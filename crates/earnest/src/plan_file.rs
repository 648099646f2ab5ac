//! Reading a plan from disk: its faults, its warnings, and the hashes of the documents that lie beside it.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use anyhow::{Context, Result, bail};
use earnest_core::plan::{Plan, Warning};
use sha2::{Digest, Sha256};

/// Reads and checks a plan; faults are the error, warnings are dropped (`earnest check` shows them).
pub fn read(path: &Path) -> Result<Plan> {
    Ok(read_with_warnings(path)?.0)
}

/// The same, with the warnings.
pub fn read_with_warnings(path: &Path) -> Result<(Plan, Vec<Warning>)> {
    let source = text(path).with_context(|| format!("cannot read {}", path.display()))?;
    let (plan, warnings) = Plan::read(&path.display().to_string(), &source)?;
    check_documents(&plan, path.parent().unwrap_or(Path::new(".")))?;
    Ok((plan, warnings))
}

/// The text of a plan or a study, if it is of a size that people write: a device or a film is refused.
pub fn text(path: &Path) -> std::io::Result<String> {
    const MOST: u64 = 4 << 20;
    let mut text = String::new();
    let length = File::open(path)?.take(MOST + 1).read_to_string(&mut text)?;
    if length as u64 > MOST {
        return Err(std::io::Error::other("it is larger than 4 MiB"));
    }
    Ok(text)
}

/// A plan that is in the binary.
pub fn parse(name: &str, source: &str) -> Result<Plan> {
    Ok(Plan::read(name, source)?.0)
}

/// A document that names its file must have the hash that was agreed.
fn check_documents(plan: &Plan, folder: &Path) -> Result<()> {
    for document in &plan.documents {
        let Some(file) = &document.file else { continue };
        let path = folder.join(file);
        let bytes = std::fs::read(&path)
            .with_context(|| format!("document {:?}: cannot read {}", document.name, path.display()))?;
        let found = Sha256::digest(&bytes);
        if found[..] != document.sha256[..] {
            bail!(
                "document {:?}: {} has sha256 {}, and the plan says {}\n  hint: if the document was meant to change, \
                 write the new hash into the plan; every permit must then be signed again",
                document.name,
                path.display(),
                alloy_primitives::hex::encode(found),
                alloy_primitives::hex::encode(document.sha256),
            );
        }
    }
    Ok(())
}
