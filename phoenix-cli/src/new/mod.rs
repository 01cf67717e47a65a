//! `phoenix-cli new`: renders a template into a service, and runs it where asked to.
//!
//! # Layout
//! - [`name`]: what a service may be called
//! - [`template`]: finds a template and renders it, whole or not at all
//! - [`launch`]: builds, starts and watches the service

mod launch;
mod name;
mod template;

use std::path::{Path, PathBuf};

use crate::checkout::Checkout;
use name::Name;
use template::{Template, Values};

/// Creates a service from a template.
///
/// The service builds against the checkout that this phoenix-cli was built from.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// What the service is called: its folder, its crate and its binary
    name: String,
    /// The template: hello (the smallest aggregate) or bank (accounts, rejections, invariants)
    #[arg(long, default_value = "hello")]
    template: String,
    /// The folder that the service's folder is put into [default: this one]
    #[arg(long, value_name = "DIR")]
    path: Option<PathBuf>,
    /// The port that the service's configuration says
    #[arg(long, default_value_t = 8080)]
    port: u16,
    /// Builds the service, starts it, and stays with it until Ctrl-C
    #[arg(long)]
    run: bool,
}

/// Renders, and runs where asked to.
pub(crate) async fn run(options: Options) -> miette::Result<()> {
    let Options { name, template, path, port, run } = options;
    let name = Name::new(&name)?;
    let checkout = Checkout::find()?;
    let template = Template::find(&checkout.templates(), &template)?;
    let folder = template::target(&path.unwrap_or_else(|| PathBuf::from(".")), &name)?;
    if run {
        launch::port_is_free(port)?;
    }
    let values = Values { name: &name, port, checkout: &checkout };
    template.render(&values, &folder)?;
    println!("Created `{name}` in {}", folder.display());
    if run {
        launch::run(&checkout, &name, &folder, port).await
    } else {
        println!("\n    cd {} && cargo run\n\nIts README.md says what to try.", shell_word(&folder));
        Ok(())
    }
}

/// Renders a template into a new folder below `parent`, and says where.
pub(crate) fn render(name: &str, template: &str, parent: &Path) -> miette::Result<PathBuf> {
    let name = Name::new(name)?;
    let checkout = Checkout::find()?;
    let folder = template::target(parent, &name)?;
    let values = Values { name: &name, port: 8080, checkout: &checkout };
    Template::find(&checkout.templates(), template)?.render(&values, &folder)?;
    Ok(folder)
}

/// The path as it can be pasted into a shell.
fn shell_word(path: &Path) -> String {
    let path = path.display().to_string();
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+".contains(c);
    if path.chars().all(plain) { path } else { format!("'{}'", path.replace('\'', r"'\''")) }
}
