//! A plan as a table for people, with shortened digests.

use std::fmt::Write;

use super::{OnDisk, Plan, Speed, describe};
use crate::command_line::terminal::{bytes, elapsed};

// Writing to a string cannot fail.
pub(super) fn table(plan: &Plan) -> String {
    let selected = &plan.selected;
    let mut text = String::new();
    let _ = writeln!(text, "source    {}", selected.origin);
    let _ = writeln!(text, "revision  {}", selected.revision);
    let _ = writeln!(text, "digest    {}\n", selected.digest);
    let _ = writeln!(text, "{:>9}  {:<21}  FILE", "SIZE", "DIGEST");
    for file in &selected.files {
        let digest: String = file.digest.to_string().chars().take(21).collect();
        let _ = writeln!(text, "{:>9}  {digest:<21}  {}", bytes(file.size), file.path);
    }
    for skipped in &selected.left_out {
        let _ = writeln!(
            text,
            "{:>9}  {:<21}  {} ({})",
            "-",
            "",
            skipped.file.path,
            describe(&skipped.reason)
        );
    }
    let _ = write!(text, "\n{} files, {}", selected.files.len(), bytes(selected.bytes));
    if !selected.left_out.is_empty() {
        let skipped = selected.left_out.iter().map(|skipped| skipped.file.size).sum();
        let _ = write!(text, "; {} skipped, {}", selected.left_out.len(), bytes(skipped));
    }
    text.push('\n');
    if let Some(disk) = &plan.disk {
        text.push_str(&on_disk(disk));
    }
    if let Some(speed) = &plan.speed {
        text.push_str(&origins(speed));
        text.push_str(&time(plan));
    }
    text
}

fn on_disk(disk: &OnDisk) -> String {
    let OnDisk { dir, present, free } = disk;
    let needed = bytes(present.room);
    let space = if present.room <= *free {
        format!("needs {needed} of space, {} are free", bytes(*free))
    } else {
        format!(
            "needs {needed} of space, only {} are free: {} short",
            bytes(*free),
            bytes(present.room - free)
        )
    };
    format!(
        "{} already in {dir}, {} to fetch; {space}\n",
        bytes(present.bytes),
        bytes(present.missing)
    )
}

fn origins(speed: &Speed) -> String {
    let mut text = format!("\n{:>11}  {:>10}  ORIGIN\n", "SPEED", "FIRST BYTE");
    for origin in &speed.probed {
        let _ = match (&origin.error, origin.sample.bytes_per_second()) {
            (None, Some(rate)) => writeln!(
                text,
                "{:>11}  {:>10}  {}",
                format!("{}/s", bytes(rate)),
                format!("{} ms", origin.sample.first_byte.as_millis()),
                origin.name
            ),
            (error, _) => write_unavailable(&mut text, &origin.name, error.as_deref()),
        };
    }
    for origin in &speed.skipped {
        let _ = write_unavailable(&mut text, &origin.name, origin.last_error.as_deref());
    }
    text
}

fn write_unavailable(text: &mut String, name: &str, error: Option<&str>) -> std::fmt::Result {
    let error = error.unwrap_or("sent no data");
    writeln!(text, "{:>11}  {:>10}  {name} ({error})", "-", "-")
}

fn time(plan: &Plan) -> String {
    match plan.duration() {
        _ if plan.bytes_to_fetch() == 0 => "\nnothing to fetch\n".to_owned(),
        Some(time) => format!("\nabout {} for {}\n", elapsed(time), bytes(plan.bytes_to_fetch())),
        None => "\nno time estimate: no origin sent data\n".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use modelcache_crds::report::{OriginFault, OriginReport};

    use super::*;
    use crate::application::estimate::Sample;
    use crate::command_line::plan::ProbeResult;
    use crate::store::Present;

    #[test]
    fn what_is_on_disk_and_whether_the_rest_fits() {
        let disk = |free| OnDisk {
            dir: "models".to_owned(),
            present: Present {
                bytes: 1 << 30,
                missing: 3 << 30,
                room: 2 << 30,
            },
            free,
        };
        assert_eq!(
            on_disk(&disk(5 << 30)),
            "1.00 GiB already in models, 3.00 GiB to fetch; needs 2.00 GiB of space, 5.00 GiB are free\n"
        );
        assert!(
            on_disk(&disk(1 << 30)).ends_with("only 1.00 GiB are free: 1.00 GiB short\n"),
            "{}",
            on_disk(&disk(1 << 30))
        );
    }

    #[test]
    fn the_speed_of_each_origin() {
        let probed = |name: &str, bytes, error: Option<&str>| ProbeResult {
            name: name.to_owned(),
            sample: Sample {
                bytes,
                first_byte: Duration::from_millis(120),
                last_byte: Duration::from_millis(1120),
            },
            error: error.map(str::to_owned),
        };
        let speed = Speed {
            probed: vec![
                probed("https://hub", 100 << 20, None),
                probed("https://mirror", 0, Some("refused")),
            ],
            skipped: vec![OriginReport {
                name: "https://other".to_owned(),
                bytes: 0,
                failures: 0,
                last_error: Some("lists none".to_owned()),
                dropped: Some(OriginFault::LeftOut),
            }],
        };
        insta::assert_snapshot!(origins(&speed), @r"

              SPEED  FIRST BYTE  ORIGIN
          100 MiB/s      120 ms  https://hub
                  -           -  https://mirror (refused)
                  -           -  https://other (lists none)
        ");
    }
}
