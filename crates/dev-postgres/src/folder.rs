//! Chooses and makes the folders of a server: its home, and the folder of its socket.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use aws_lc_rs::digest::{SHA256, digest};
use nix::unistd::{User, geteuid};

/// A user and a group.
pub type Owner = (u32, u32);

/// A socket's path has at most 107 bytes, and the socket's own name takes 21 of them.
const MAX_SOCKET_FOLDER_BYTES: usize = 85;
/// Where the homes of servers are that root started in a folder which their user can't enter.
const SYSTEM_FOLDER: &str = "/var/lib/dev-postgres";

/// The user that runs the server if we are root, since PostgreSQL refuses to run as root: postgres,
/// else nobody.
pub fn server_user() -> Option<Owner> {
    if !geteuid().is_root() {
        return None;
    }
    let user = ["postgres", "nobody"].into_iter().find_map(|name| User::from_name(name).ok().flatten());
    Some(user.map_or((65534, 65534), |user| (user.uid.as_raw(), user.gid.as_raw())))
}

/// The home of a server: inside the caller's folder, unless we are root and the server's user could
/// not get there (a project below /root).
pub fn home(folder: &Path, owner: Option<Owner>) -> PathBuf {
    let inside = folder.join("postgres");
    if owner.is_none() || enterable_by_others(&inside) {
        return inside;
    }
    let outside = Path::new(SYSTEM_FOLDER).join(short_hash(folder));
    tracing::warn!(folder = %folder.display(), outside = %outside.display(), "PostgreSQL can't run as root, and its own user can't enter the data folder; its data goes elsewhere");
    // Others may enter only this level. The home itself is private.
    if fs::create_dir_all(SYSTEM_FOLDER).is_ok() {
        let _ = fs::set_permissions(SYSTEM_FOLDER, Permissions::from_mode(0o755));
    }
    outside
}

/// The folder of the socket: inside the home, unless its path is too long for a socket.
pub fn socket(home: &Path) -> PathBuf {
    let inside = home.join("socket");
    if inside.as_os_str().len() <= MAX_SOCKET_FOLDER_BYTES {
        return inside;
    }
    std::env::temp_dir().join(format!("dev-postgres-{}", short_hash(home)))
}

/// Makes a folder that only `owner`, else this process's user, can enter.
pub fn make_private(path: &Path, owner: Option<Owner>) -> io::Result<()> {
    fs::create_dir_all(path)?;
    fs::set_permissions(path, Permissions::from_mode(0o700))?;
    match owner {
        Some((user, group)) => std::os::unix::fs::chown(path, Some(user), Some(group)),
        None => Ok(()),
    }
}

/// Whether a user who owns none of the folders above a path can enter all of them.
fn enterable_by_others(path: &Path) -> bool {
    path.ancestors().skip(1).all(|folder| fs::metadata(folder).is_ok_and(|found| found.mode() & 0o001 != 0))
}

/// A short name that is different for different paths.
fn short_hash(path: &Path) -> String {
    let hash = digest(&SHA256, path.as_os_str().as_encoded_bytes());
    hex::encode(hash.as_ref().iter().take(6).copied().collect::<Vec<u8>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_path_gets_a_short_socket_folder() {
        assert_eq!(socket(Path::new("/tmp/x/postgres")), Path::new("/tmp/x/postgres/socket"));
        let deep = PathBuf::from(format!("/tmp/{}/postgres", "x".repeat(100)));
        assert!(socket(&deep).as_os_str().len() <= MAX_SOCKET_FOLDER_BYTES);
        assert_ne!(socket(&deep), socket(&deep.join("other")));
    }

    #[test]
    fn a_home_stays_in_its_folder_if_its_owner_can_enter() {
        assert_eq!(home(Path::new("/root/x"), None), Path::new("/root/x/postgres"));
    }
}
