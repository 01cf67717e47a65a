//! The sources that this binary was built from: services are built against them.

use std::path::{Path, PathBuf};

/// The folders of a checkout that services need.
#[derive(Debug)]
pub(crate) struct Checkout {
    root: PathBuf,
}

/// The checkout is gone.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
#[error("the sources that phoenix-cli was built from are gone")]
#[diagnostic(
    help(
        "a new service is built against them, and there is no `{}` any more: \
         clone Phoenix again and use the phoenix-cli of that clone (`cargo run -p phoenix-cli -- new ...`)",
        missing.display()
    )
)]
pub(crate) struct Gone {
    missing: PathBuf,
}

impl Checkout {
    /// The checkout of this binary.
    pub(crate) fn find() -> Result<Self, Gone> {
        let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
        let root = manifest.parent().unwrap_or(manifest).to_owned();
        let checkout = Self { root };
        match [checkout.runtime(), checkout.templates()].into_iter().find(|folder| !folder.is_dir()) {
            Some(missing) => Err(Gone { missing }),
            None => Ok(checkout),
        }
    }

    /// The checkout's own folder.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// The crate that services depend on.
    pub(crate) fn runtime(&self) -> PathBuf {
        self.root.join("phoenix-runtime")
    }

    /// The templates, a folder each.
    pub(crate) fn templates(&self) -> PathBuf {
        self.root.join("templates")
    }

    /// The versions that the checkout was tested with. A service starts with the same ones, and shares what is
    /// compiled already.
    pub(crate) fn lock_file(&self) -> PathBuf {
        self.root.join("Cargo.lock")
    }

    /// Where cargo puts what it compiles for the checkout.
    pub(crate) fn target(&self) -> PathBuf {
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| self.root.join("target"), PathBuf::from)
    }
}
