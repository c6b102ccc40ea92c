//! Keys and certificates of the API server.

use std::fs;
use std::path::Path;

use anyhow::Context;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};

/// The name under which the server shows a certificate that has expired.
pub(crate) const EXPIRED: &str = "expired.netverdict.test";

/// Writes them into a folder.
pub(crate) fn write(folder: &Path) -> anyhow::Result<()> {
    let mut authority = CertificateParams::new(Vec::new())?;
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate()?)?;
    save(folder, "ca.crt", &authority.pem())?;
    // The last is where pods find it.
    let names = ["127.0.0.1", "localhost", "10.43.0.1"];
    let names = names.map(str::to_owned).to_vec();
    for (name, years, names) in [
        ("server", (2020, 4000), names),
        ("expired", (2020, 2021), vec![EXPIRED.to_owned()]),
    ] {
        let mut parameters = CertificateParams::new(names)?;
        parameters.not_before = date_time_ymd(years.0, 1, 1);
        parameters.not_after = date_time_ymd(years.1, 1, 1);
        let key = KeyPair::generate()?;
        let certificate = parameters.signed_by(&key, &authority)?;
        save(folder, &format!("{name}.crt"), &certificate.pem())?;
        save(folder, &format!("{name}.key"), &key.serialize_pem())?;
    }
    let accounts = KeyPair::generate()?;
    save(folder, "accounts.key", &accounts.serialize_pem())?;
    save(folder, "accounts.pub", &accounts.public_key_pem())
}

fn save(folder: &Path, name: &str, text: &str) -> anyhow::Result<()> {
    fs::write(folder.join(name), text).with_context(|| format!("write {name}"))
}
