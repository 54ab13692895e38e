//! The data folder of `textback dev`: its lock and its keys.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::secret::SecretKeys;

/// The file that is locked while a process has the folder.
const LOCK: &str = "lock";

/// A data folder that is ours as long as this lives.
pub struct Folder {
    path: PathBuf,
    _lock: File,
}

/// Why the data folder can't be used.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    #[error("{path} can't be used as the data folder: {error}; choose another folder with TEXTBACK_DATA_DIR")]
    Io { path: PathBuf, error: std::io::Error },
    #[error("another textback dev uses {0}; stop it, or choose another folder with TEXTBACK_DATA_DIR")]
    InUse(PathBuf),
    #[error("the key in {0} is damaged; delete the whole data folder to begin again")]
    BadKey(PathBuf),
}

/// Whether a process has taken a folder.
pub fn is_taken(path: &Path) -> bool {
    // A shared lock, so that two who ask do not see each other.
    let lock = File::open(path.join(LOCK));
    lock.is_ok_and(|lock| matches!(lock.try_lock_shared(), Err(fs::TryLockError::WouldBlock)))
}

impl Folder {
    /// Takes a folder, making it if needed. The lock ends with the process, however that ends.
    pub fn take(path: &Path) -> Result<Self, FolderError> {
        let failed = |error| FolderError::Io { path: path.to_owned(), error };
        fs::create_dir_all(path).map_err(failed)?;
        let path = path.canonicalize().map_err(failed)?;
        let lock = File::create(path.join(LOCK)).map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path, _lock: lock }),
            Err(fs::TryLockError::WouldBlock) => Err(FolderError::InUse(path)),
            Err(fs::TryLockError::Error(error)) => Err(failed(error)),
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The secret key of this folder, drawn at the first start.
    pub fn secret_key(&self) -> Result<SecretKeys, FolderError> {
        match self.read("secret.key")? {
            Some(text) => text.parse().map_err(|_| FolderError::BadKey(self.path.join("secret.key"))),
            None => {
                let (key, text) = SecretKeys::draw();
                self.write("secret.key", &text)?;
                Ok(key)
            }
        }
    }

    /// A file of the folder, if it is there.
    pub fn read(&self, name: &str) -> Result<Option<String>, FolderError> {
        match fs::read_to_string(self.path.join(name)) {
            Ok(text) => Ok(Some(text.trim().to_owned())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(FolderError::Io { path: self.path.join(name), error }),
        }
    }

    /// Writes a file that only its owner can read.
    pub fn write(&self, name: &str, text: &str) -> Result<(), FolderError> {
        let path = self.path.join(name);
        let written = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path);
        written.and_then(|mut file| file.write_all(text.as_bytes())).map_err(|error| FolderError::Io { path, error })
    }
}
