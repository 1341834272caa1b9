//! A real server, to see how little memory it can live in: Debian's Redis on a Unix socket, which is there without a network.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use launch::Root;

use crate::guest::Settings;
use crate::measure::{Bench, Guest};

const SERVER: &str = "/usr/bin/redis-server";
const CLIENT: &str = "/usr/bin/redis-cli";
const SHELL: &str = "/bin/busybox";
/// For one boot.
const LIMIT: Duration = Duration::from_secs(120);
/// The last line of a server that did its work.
const SERVED: &str = "served";
/// Until it answers, or is gone.
const SCRIPT: &str = r#"
/usr/bin/redis-server --port 0 --unixsocket /redis.sock --save "" > /dev/null & server=$!
ask() { /usr/bin/redis-cli -s /redis.sock "$@"; }
until [ "$(ask ping 2> /dev/null)" = PONG ]; do
    kill -0 $server || exit 1
    /bin/busybox sleep 0.1
done
[ "$(ask set name whelk)" = OK ] && [ "$(ask get name)" = whelk ] || exit 1
ask shutdown
wait $server && echo served
"#;

/// What the server needs, and nothing else.
pub(crate) fn root(bench: &Bench<'_>) -> Result<Root> {
    let mut root = Root::new();
    root.add_host_file(Path::new("/init"), &bench.programs.init)?;
    root.add_character_device(Path::new("/dev/console"), 0o600, (5, 1));
    for program in [SERVER, CLIENT, SHELL].map(Path::new) {
        root.add_host_file(program, &program.canonicalize()?)?;
        for library in launch::libraries_of(program)? {
            root.add_host_file(&library, &library.canonicalize()?)?;
        }
    }
    root.add_bytes(Path::new("/serve"), 0o755, SCRIPT.into());
    Ok(root)
}

/// Whether the server does its work in this machine.
pub(crate) fn serves(bench: &Bench<'_>, settings: &Settings, guest: Guest, root: &Root) -> bool {
    let words = [SHELL, "sh", "/serve"].map(str::to_owned).to_vec();
    bench.jobs(guest, settings, root, &[words], LIMIT).is_ok_and(|outcomes| {
        outcomes
            .first()
            .is_some_and(|outcome| outcome.status == Some(0) && outcome.stdout.lines().last() == Some(SERVED))
    })
}
