//! Sealing what must not lie readable in the database: AES-256-GCM under a key in a file that only the server reads.
//!
//! It protects copies of the database (backups, a shared disk image), not against somebody who can read the whole data
//! folder as the server's user.

use super::StoreError;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

const KEY_LEN: usize = 32;

/// The key, ready for use.
pub(super) struct Vault {
    key: LessSafeKey,
}

impl Vault {
    /// Reads the key, making one the first time.
    pub(super) fn open(data_dir: &Path) -> Result<Self, StoreError> {
        let path = data_dir.join("secret.key");
        let refused =
            |reason: std::io::Error| StoreError::NotWritable { path: path.clone(), reason: reason.to_string() };
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let bytes = random::<KEY_LEN>()?.to_vec();
                let file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
                file.and_then(|mut file| file.write_all(&bytes).and_then(|()| file.sync_all())).map_err(refused)?;
                bytes
            }
            Err(error) => return Err(refused(error)),
        };
        let key = UnboundKey::new(&AES_256_GCM, &bytes)
            .map_err(|_| StoreError::Corrupt("the file secret.key does not hold a key of 32 bytes".to_owned()))?;
        Ok(Self { key: LessSafeKey::new(key) })
    }

    /// Seals a value. It opens only with the same label, so that a sealed value cannot be moved to another place.
    pub(super) fn seal(&self, label: &str, value: &str) -> Result<Vec<u8>, StoreError> {
        let nonce = random::<NONCE_LEN>()?;
        let mut sealed = value.as_bytes().to_vec();
        self.key
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(label), &mut sealed)
            .map_err(|_| StoreError::Database("a value could not be sealed".to_owned()))?;
        Ok([nonce.as_slice(), &sealed].concat())
    }

    /// Opens a sealed value.
    pub(super) fn open_value(&self, label: &str, sealed: &[u8]) -> Result<String, StoreError> {
        let wrong = || StoreError::Corrupt(format!("the sealed value of {label} does not open with this secret.key"));
        let (nonce, rest) = sealed.split_first_chunk::<NONCE_LEN>().ok_or_else(wrong)?;
        let mut rest = rest.to_vec();
        let opened = self.key.open_in_place(Nonce::assume_unique_for_key(*nonce), Aad::from(label), &mut rest);
        String::from_utf8(opened.map_err(|_| wrong())?.to_vec()).map_err(|_| wrong())
    }
}

fn random<const N: usize>() -> Result<[u8; N], StoreError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| StoreError::Database(format!("no randomness: {error}")))?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sealed_value_opens_in_its_place_only_and_under_its_key_only() {
        let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let vault = Vault::open(one.path()).unwrap();
        let sealed = vault.seal("a", "top secret").unwrap();
        assert!(!sealed.windows(3).any(|w| w == b"top"));
        assert_eq!(Vault::open(one.path()).unwrap().open_value("a", &sealed).unwrap(), "top secret");
        assert!(vault.open_value("b", &sealed).is_err());
        assert!(Vault::open(two.path()).unwrap().open_value("a", &sealed).is_err());
        assert!(vault.open_value("a", &sealed[..5]).is_err());
        let mode = std::os::unix::fs::PermissionsExt::mode(
            &std::fs::metadata(one.path().join("secret.key")).unwrap().permissions(),
        );
        assert_eq!(mode & 0o777, 0o600);
    }
}
