//! What has a name, as a client finds it.

use guest::{CallResult, Client};
use syscall::flag::{MODE_DIR, MODE_TYPE, O_RDONLY};

/// The path, without the slash of the root, and inode number of everything that has a name below the root.
pub(super) fn walk(client: &Client) -> CallResult<Vec<(String, u64)>> {
    let mut found = Vec::new();
    let mut directories = vec![(String::new(), 0)];
    while let Some((above, directory)) = directories.pop() {
        for name in client.list(directory)?.into_iter().filter(|name| name != "." && name != "..") {
            let path = format!("{above}{name}");
            let descriptor = client.open(&path, O_RDONLY)?;
            let stat = client.stat(descriptor)?;
            found.push((path.clone(), stat.st_ino));
            if stat.st_mode & MODE_TYPE == MODE_DIR {
                directories.push((format!("{path}/"), descriptor));
            } else {
                client.close(descriptor);
            }
        }
        if directory != 0 {
            client.close(directory);
        }
    }
    Ok(found)
}
