//! Checks that the memory of a fetcher does not depend on the size of the model. The program runs in a control group
//! with the memory limit of the operator's pods, which covers its buffers and its page cache.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use modelcache_tests::hub::{Content, HubConfig};
use tokio::process::Command;

use crate::scenario::{MEBIBYTE, MODEL, Scenario, WEIGHTS};

const LIMIT: u64 = 128 << 20;
const SIZE: u64 = 1280 << 20;

/// A control group (version 1 or 2) with a memory limit.
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
            // Enables the controller; does nothing if it is enabled already.
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
            // Swapped-out memory would not count.
            let _ = fs::write(group.folder.join("memory.swap.max"), "0");
        }
        group
    }

    /// Wraps a command so that it runs in the group.
    fn wrap(&self, command: &Command) -> Command {
        let command = command.as_std();
        let mut wrapped = Command::new("sh");
        wrapped
            .args(["-c", r#"echo $$ > "$0" && exec "$@""#])
            .arg(self.folder.join("cgroup.procs"))
            .arg(command.get_program())
            .args(command.get_args())
            .kill_on_drop(true);
        wrapped
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.folder.join(name)).unwrap_or_default()
    }

    /// Peak of the charged bytes.
    fn peak(&self) -> u64 {
        let name = if self.is_second {
            "memory.peak"
        } else {
            "memory.max_usage_in_bytes"
        };
        self.read(name).trim().parse().unwrap_or_default()
    }

    /// Number of processes that the kernel killed for lack of memory.
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
        // The kernel removes ended processes with a delay.
        for _ in 0..100 {
            if fs::remove_dir(&self.folder).is_ok() {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// A file of zeros with a mark in each block, so that swapped blocks are found.
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
async fn a_file_ten_times_as_large_as_the_memory_limit_is_fetched_within_it() {
    let scenario = Scenario::of(HubConfig::default(), BTreeMap::new()).await;
    let file = Content::File(large_file(scenario.folder.path()));
    let files = BTreeMap::from([(WEIGHTS.to_owned(), file)]);
    scenario.hub.commit(MODEL, "main", files).await.unwrap();
    let group = MemoryGroup::new();
    let mut command = group.wrap(&scenario.command_with(16));
    let output = command.stdin(Stdio::null()).output().await.unwrap();
    let (peak, killed) = (group.peak(), group.killed());
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{:?}, {killed} killed: {stderr}",
        output.status
    );
    assert_eq!(killed, "0");
    // A peak at the limit would not show whether the fetcher or the kernel bounds the page cache.
    assert!(peak < LIMIT, "{peak} bytes were charged");
    eprintln!("at most {peak} bytes were charged for a file of {SIZE}");
    let published = fs::metadata(scenario.model().join("current").join(WEIGHTS)).unwrap();
    assert_eq!(published.len(), SIZE);
}
