//! What address and options say about protection, where a slip would leave a connection without it.

use super::{DatabaseOptions, DatabaseUrl, TlsMode};

/// The words for the mode, in an address.
const MODE: [&str; 2] = ["sslmode", "ssl-mode"];

/// The certificates of `tls_ca`, when all that is said about the connection is meant.
pub(super) fn certificates(
    url: &DatabaseUrl,
    options: &DatabaseOptions,
    known: &[&str],
) -> Result<Option<Vec<u8>>, String> {
    let parameters = || url.parameters().map(|parameter| parameter.split_once('=').unwrap_or((parameter, "")));
    for (name, _) in parameters() {
        if !MODE.contains(&name) && !known.contains(&name) && !name.starts_with("options[") {
            return Err(format!("nothing reads the parameter `{name}` of the address: correct it, or take it out"));
        }
    }
    let said = parameters().filter(|(name, _)| MODE.contains(name)).last().map(|(_, mode)| mode.to_ascii_lowercase());
    let says = |word: &str| said.as_deref().is_some_and(|mode| mode.starts_with(word));
    if matches!(options.tls, Some(TlsMode::Disable | TlsMode::Prefer)) && (says("require") || says("verify")) {
        return Err(
            "`database.tls` takes back the protection that the address asks for: say it in one of them".to_owned()
        );
    }
    let Some(path) = &options.tls_ca else { return Ok(None) };
    let wrong = |what: &str| format!("`database.tls_ca`, `{}`: {what}", path.display());
    let pem = std::fs::read(path).map_err(|e| wrong(&e.to_string()))?;
    if !String::from_utf8_lossy(&pem).contains("-----BEGIN CERTIFICATE-----") {
        return Err(wrong(
            "it has no certificate: name a PEM file with the certificates of those who sign the server's",
        ));
    }
    if options.tls.map_or_else(|| says("verify"), |tls| matches!(tls, TlsMode::VerifyCa | TlsMode::VerifyFull)) {
        return Ok(Some(pem));
    }
    Err(wrong("nothing is checked against it: set `database.tls` to `verify-full` or `verify-ca`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn certificates_of(parameters: &str, tls: Option<TlsMode>, ca: Option<&str>) -> Result<bool, String> {
        let folder = tempfile::tempdir().map_err(|e| e.to_string())?;
        let tls_ca = ca.map(|_| folder.path().join("ca.pem"));
        if let (Some(path), Some(text)) = (&tls_ca, ca) {
            std::fs::write(path, text).map_err(|e| e.to_string())?;
        }
        let options = DatabaseOptions { tls, tls_ca, ..DatabaseOptions::default() };
        let url = DatabaseUrl::new(format!("postgres://a:b@c/d{parameters}"));
        certificates(&url, &options, &["host"]).map(|pem| pem.is_some())
    }

    #[test]
    fn what_would_not_protect_is_refused() {
        #[track_caller]
        fn check(parameters: &str, tls: Option<TlsMode>, ca: Option<&str>, expected: Result<bool, &str>) {
            match (certificates_of(parameters, tls, ca), expected) {
                (Ok(found), Ok(expected)) => assert_eq!(found, expected),
                (Err(found), Err(expected)) => assert!(found.contains(expected), "{found}"),
                (found, expected) => panic!("{found:?}, and not {expected:?}"),
            }
        }
        let pem = Some("-----BEGIN CERTIFICATE-----");
        let (full, unused) = (Some(TlsMode::VerifyFull), "nothing is checked against it");
        check("", None, None, Ok(false));
        check("?host=/run&sslmode=verify-full", None, pem, Ok(true));
        check("?ssl-mode=VERIFY_CA", None, pem, Ok(true));
        check("?sslmode=disable", full, pem, Ok(true));
        check("?sslmod=require", None, None, Err("nothing reads the parameter `sslmod`"));
        check("?sslmode=verify-full", Some(TlsMode::Disable), None, Err("takes back the protection"));
        check("?sslmode=require", Some(TlsMode::Prefer), None, Err("takes back the protection"));
        check("", None, pem, Err(unused));
        check("", Some(TlsMode::Require), pem, Err(unused));
        check("?sslmode=require", None, pem, Err(unused));
        check("", full, Some("-----BEGIN PRIVATE KEY-----"), Err("it has no certificate"));
    }
}
