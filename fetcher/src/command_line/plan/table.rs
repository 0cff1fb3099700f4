//! A plan for people: sizes lined up, digests cut to what identifies.

use std::fmt::Write;

use super::{OnDisk, Plan, Speed, told};
use crate::command_line::terminal::{bytes, elapsed};

// Writing to a string does not fail.
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
    for out in &selected.left_out {
        let _ = writeln!(
            text,
            "{:>9}  {:<21}  {} ({})",
            "-",
            "",
            out.file.path,
            told(&out.reason)
        );
    }
    let _ = write!(text, "\n{} files, {}", selected.files.len(), bytes(selected.bytes));
    if !selected.left_out.is_empty() {
        let left_out = selected.left_out.iter().map(|out| out.file.size).sum();
        let _ = write!(text, "; {} left out, {}", selected.left_out.len(), bytes(left_out));
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
    let room = if present.room <= *free {
        format!(
            "it needs room for {}, and {} are free",
            bytes(present.room),
            bytes(*free)
        )
    } else {
        format!(
            "it needs room for {}, but only {} are free: {} too little",
            bytes(present.room),
            bytes(*free),
            bytes(present.room - free)
        )
    };
    format!(
        "{} are in {dir} already, {} are to be fetched; {room}\n",
        bytes(present.bytes),
        bytes(present.missing)
    )
}

fn origins(speed: &Speed) -> String {
    let mut text = format!("\n{:>11}  {:>10}  ORIGIN\n", "SPEED", "FIRST BYTE");
    for origin in &speed.probed {
        let _ = match (&origin.error, origin.brought.bytes_per_second()) {
            (None, Some(rate)) => writeln!(
                text,
                "{:>11}  {:>10}  {}",
                format!("{}/s", bytes(rate)),
                format!("{} ms", origin.brought.first.as_millis()),
                origin.name
            ),
            (error, _) => not_had(&mut text, &origin.name, error.as_deref()),
        };
    }
    for origin in &speed.left_out {
        let _ = not_had(&mut text, &origin.name, origin.last_error.as_deref());
    }
    text
}

fn not_had(text: &mut String, name: &str, error: Option<&str>) -> std::fmt::Result {
    let error = error.unwrap_or("brought nothing");
    writeln!(text, "{:>11}  {:>10}  {name} ({error})", "-", "-")
}

fn time(plan: &Plan) -> String {
    match plan.duration() {
        _ if plan.bytes_to_fetch() == 0 => "\nnothing is to be fetched\n".to_owned(),
        Some(time) => format!("\nabout {} for {}\n", elapsed(time), bytes(plan.bytes_to_fetch())),
        None => "\nhow long it takes cannot be told: no origin brought a byte\n".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use modelcache_crds::report::{OriginFault, OriginReport};

    use super::*;
    use crate::application::estimate::Brought;
    use crate::command_line::plan::Probed;
    use crate::store::Present;

    #[test]
    fn what_is_on_disk_and_whether_the_rest_has_room() {
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
            "1.00 GiB are in models already, 3.00 GiB are to be fetched; it needs room for 2.00 GiB, and 5.00 GiB are free\n"
        );
        assert!(
            on_disk(&disk(1 << 30)).ends_with("but only 1.00 GiB are free: 1.00 GiB too little\n"),
            "{}",
            on_disk(&disk(1 << 30))
        );
    }

    #[test]
    fn what_each_origin_brings() {
        let probed = |name: &str, bytes, error: Option<&str>| Probed {
            name: name.to_owned(),
            brought: Brought {
                bytes,
                first: Duration::from_millis(120),
                last: Duration::from_millis(1120),
            },
            error: error.map(str::to_owned),
        };
        let speed = Speed {
            probed: vec![
                probed("https://hub", 100 << 20, None),
                probed("https://mirror", 0, Some("refused")),
            ],
            left_out: vec![OriginReport {
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
