//! The memory of a fetcher is bounded whatever the size of the model: a control group with the limit that the
//! operator gives its pods holds the program, its buffers and the page cache that is charged to it.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use modelcache_tests::hub::{Content, HubConfig};
use tokio::process::Command;

use crate::scenario::{MEBIBYTE, MODEL, Trial, WEIGHTS};

const LIMIT: u64 = 128 << 20;
const SIZE: u64 = 1280 << 20;

/// A control group with a bound on memory, of the second version or of the first.
struct MemoryGroup {
    folder: PathBuf,
    is_second: bool,
}

impl MemoryGroup {
    fn new() -> Self {
        let root = Path::new("/sys/fs/cgroup");
        let is_second = root.join("cgroup.controllers").exists();
        let parent = if is_second {
            root.to_owned()
        } else {
            root.join("memory")
        };
        if is_second {
            // Where it is on already, this changes nothing.
            let _ = fs::write(parent.join("cgroup.subtree_control"), "+memory");
        }
        let folder = parent.join(format!("modelcache-test-{}", std::process::id()));
        let group = Self { folder, is_second };
        let limit = if is_second {
            "memory.max"
        } else {
            "memory.limit_in_bytes"
        };
        let made = fs::create_dir(&group.folder).and_then(|()| fs::write(group.folder.join(limit), LIMIT.to_string()));
        assert!(
            made.is_ok(),
            "this test needs a control group of memory below {}, and the right to make one: run it as root, outside of a \
             container that mounts control groups read-only ({made:?})",
            parent.display()
        );
        if is_second {
            // Memory that is swapped out would not count.
            let _ = fs::write(group.folder.join("memory.swap.max"), "0");
        }
        group
    }

    /// The command, within the group.
    fn hold(&self, command: &Command) -> Command {
        let command = command.as_std();
        let mut held = Command::new("sh");
        held.args(["-c", r#"echo $$ > "$0" && exec "$@""#])
            .arg(self.folder.join("cgroup.procs"))
            .arg(command.get_program())
            .args(command.get_args())
            .kill_on_drop(true);
        held
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.folder.join(name)).unwrap_or_default()
    }

    /// The most that was charged to it at once.
    fn peak(&self) -> u64 {
        let name = if self.is_second {
            "memory.peak"
        } else {
            "memory.max_usage_in_bytes"
        };
        self.read(name).trim().parse().unwrap_or_default()
    }

    /// Programs that were ended because there was no more memory for them.
    fn killed(&self) -> String {
        let name = if self.is_second {
            "memory.events"
        } else {
            "memory.oom_control"
        };
        let text = self.read(name);
        let count = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
        count.unwrap_or("unknown").to_owned()
    }
}

impl Drop for MemoryGroup {
    fn drop(&mut self) {
        // What has just ended is still there for a moment.
        for _ in 0..100 {
            if fs::remove_dir(&self.folder).is_ok() {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// Zeros with a mark in each block, so that one in the place of another is found.
fn large_file(folder: &Path) -> PathBuf {
    let path = folder.join(WEIGHTS);
    let file = File::create(&path).unwrap();
    file.set_len(SIZE).unwrap();
    for block in 0..SIZE / MEBIBYTE as u64 {
        file.write_all_at(&block.to_le_bytes(), block * MEBIBYTE as u64 + block)
            .unwrap();
    }
    path
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_ten_times_as_large_as_the_memory_is_fetched_within_it() {
    let trial = Trial::of(HubConfig::default(), BTreeMap::new()).await;
    let file = Content::File(large_file(trial.folder.path()));
    let files = BTreeMap::from([(WEIGHTS.to_owned(), file)]);
    trial.hub.commit(MODEL, "main", files).await.unwrap();
    let group = MemoryGroup::new();
    let mut command = group.hold(&trial.command_with(16));
    let output = command.stdin(Stdio::null()).output().await.unwrap();
    let (peak, killed) = (group.peak(), group.killed());
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{:?}, {killed} killed: {told}", output.status);
    assert_eq!(killed, "0");
    // At the limit, nobody could tell whether the page cache is bounded by the fetcher or by the kernel.
    assert!(peak < LIMIT, "{peak} bytes were charged");
    eprintln!("at most {peak} bytes were charged for a file of {SIZE}");
    let published = fs::metadata(trial.model().join("current").join(WEIGHTS)).unwrap();
    assert_eq!(published.len(), SIZE);
}
